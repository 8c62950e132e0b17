"""Contender and best, as pure functions."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.schedules.schedule_examples import comparison, record, verification
from tunefarm_coordinator.schedules import ranking
from tunefarm_coordinator.schedules.record import (
    Censored,
    Comparison,
    Failed,
    Measured,
    Outcome,
    Record,
    Source,
    Verification,
    new_comparison,
)

NAMES = ["a", "b", "c"]
SECONDS = st.sampled_from([1e-3, 2e-3, 3e-3])
TIMES = st.sampled_from([1.0, 2.0, 3.0])
RECORDS = st.lists(
    st.builds(
        lambda name, seconds, created, source: record(name, seconds, created=created, source=source),
        st.sampled_from(NAMES),
        SECONDS,
        TIMES,
        st.sampled_from(Source),
    ),
    max_size=6,
    unique_by=lambda item: item.record_id,
)
VERIFICATIONS = st.lists(
    st.builds(
        lambda name, ok, created: verification(name, ok=ok, created=created),
        st.sampled_from(NAMES),
        st.booleans(),
        TIMES,
    ),
    max_size=6,
)
COMPARISONS = st.lists(
    st.builds(
        lambda times, created: comparison(*times.items(), created=created),
        st.dictionaries(st.sampled_from(NAMES), SECONDS, min_size=1),
        TIMES,
    ),
    max_size=4,
)


class TestContender:
    def test_it_has_the_lowest_median(self) -> None:
        lucky = record("lucky", outcome=Measured((1e-6, 3e-3, 3e-3)))
        steady = record("steady", outcome=Measured((2e-3, 2e-3, 2.1e-3)))
        assert ranking.contender([lucky, steady]) == steady

    def test_of_two_equals_the_lower_id_wins(self) -> None:
        equals = [record(name) for name in NAMES]
        first = min(equals, key=lambda item: item.record_id)
        assert ranking.contender(equals) == ranking.contender(equals[::-1]) == first

    def test_failed_and_censored_do_not_count(self) -> None:
        outcomes: list[Outcome] = [Failed("RUN_ERROR", ""), Censored(1e-9)]
        assert ranking.contender([record(outcome=outcome) for outcome in outcomes]) is None


class TestVerified:
    @pytest.mark.parametrize(
        ("checks", "expected"),
        [
            ([], False),
            ([(1.0, True)], True),
            ([(1.0, False)], False),
            ([(1.0, True), (2.0, False)], False),
            ([(1.0, False), (2.0, True)], True),
            ([(1.0, True), (1.0, False)], False),
            ([(1.0, True), (2.0, False), (3.0, True)], True),
        ],
    )
    def test_a_candidate_is_verified_until_it_fails(self, checks: list[tuple[float, bool]], expected: bool) -> None:
        found = ranking.verified_candidates(verification("a", ok=ok, created=created) for created, ok in checks)
        assert ("a" in found) is expected


class TestBest:
    def test_the_fastest_is_passed_over_until_it_is_verified(self) -> None:
        fast, slow = record("a", 1e-3), record("b", 2e-3)
        assert ranking.best([fast, slow], [verification("b")], []) == slow
        assert ranking.ranked([fast, slow], [], []) == (fast, False)

    def test_the_winner_of_the_latest_comparison_takes_its_place(self) -> None:
        records = [record("a", 1e-3), record("b", 2e-3), record("c", 3e-3)]
        checks = [verification(name) for name in NAMES]
        first = comparison(("a", 2e-3), ("b", 1e-3), created=1.0)
        assert ranking.best(records, checks, [first]) == records[1]
        # b lost to c since; what a lost to b still holds
        second = comparison(("b", 2e-3), ("c", 1e-3), created=2.0)
        assert ranking.best(records, checks, [second, first]) == records[2]
        # a was compared again and won
        third = comparison(("a", 1e-3), ("c", 2e-3), created=3.0)
        assert ranking.best(records, checks, [second, third, first]) == records[0]

    def test_who_is_not_verified_wins_no_comparison(self) -> None:
        records = [record("a", 2e-3), record("b", 1e-3)]
        won = comparison(("a", 2e-3), ("b", 1e-3))
        assert ranking.best(records, [verification("a")], [won]) == records[0]

    def test_who_failed_in_a_comparison_was_not_in_it(self) -> None:
        records = [record("a", 1e-3), record("b", 2e-3)]
        checks = [verification("a"), verification("b")]
        results = (("a", Failed("RUN_ERROR", "")), ("b", Measured((1e-3,))))
        failed = new_comparison(
            workload=records[0].workload, target=records[0].target, device_fingerprint="d", results=results, created=1.0
        )
        assert ranking.best(records, checks, [failed]) == records[0]

    @given(RECORDS, VERIFICATIONS, COMPARISONS, st.randoms(use_true_random=False))
    def test_order_and_repetition_do_not_matter(
        self,
        records: list[Record],
        verifications: list[Verification],
        comparisons: list[Comparison],
        shuffle: random.Random,
    ) -> None:
        def mixed(facts: list[object]) -> list[object]:
            again = facts + [fact for fact in facts if shuffle.random() < 0.5]
            shuffle.shuffle(again)
            return again

        expected = ranking.ranked(records, verifications, comparisons)
        again = ranking.ranked(mixed(records), mixed(verifications), mixed(comparisons))  # type: ignore[arg-type]
        assert again == expected

    @given(RECORDS, VERIFICATIONS, COMPARISONS)
    def test_best_is_verified_and_our_own(
        self, records: list[Record], verifications: list[Verification], comparisons: list[Comparison]
    ) -> None:
        verified = ranking.verified_candidates(verifications)
        can_be = [item for item in records if item.identity in verified and item.source is not Source.IMPORTED]
        found = ranking.best(records, verifications, comparisons)
        assert (found is None) == (not can_be)
        assert found is None or found in can_be
        if found is not None and not comparisons:
            assert found == min(can_be, key=ranking.speed)
