"""Records: their names, and what they refuse."""

import math

import pytest

from tests.unit.schedules.schedule_examples import X86, record, verification
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules.record import (
    LONGEST_MESSAGE,
    Censored,
    Failed,
    Measured,
    Outcome,
    Source,
    canonical_target,
)


def test_the_name_is_of_the_content() -> None:
    assert record().record_id == record().record_id
    others = [
        record("c2"),
        record(seconds=2e-3),
        record(workload="w"),
        record(target='{"kind":"llvm"}'),
        record(device="pi"),
        record(created=401.0),
        record(project="audio"),
        record(outcome=Censored(1e-3)),
        record(outcome=Failed("RUN_ERROR", "")),
    ]
    assert len({record().record_id, *(other.record_id for other in others)}) == 1 + len(others)


def test_where_it_came_from_is_no_part_of_the_name() -> None:
    again = record(source=Source.IMPORTED, conditions={"temperature": 40.0})
    assert again.record_id == record().record_id


def test_one_target_has_one_spelling() -> None:
    spaced = ' { "mcpu" : "znver4",\n"kind":"llvm"} '
    assert canonical_target(spaced) == X86
    assert record(target=spaced) == record(target=X86)


@pytest.mark.parametrize("text", ["", "llvm", "[]", '"llvm"', "{"])
def test_a_target_is_a_json_object(text: str) -> None:
    with pytest.raises(InvalidInput, match="target"):
        canonical_target(text)


@pytest.mark.parametrize(
    "outcome",
    [
        Measured(()),
        Measured((1e-3, 0.0)),
        Measured((-1e-3,)),
        Measured((math.nan,)),
        Measured((math.inf,)),
        Measured((1e10,)),  # how other tools spell a failure
        Censored(0.0),
        Censored(math.inf),
        Failed("DEVICE_LOST", ""),
        Failed("CANCELLED", ""),
        Failed("", ""),
    ],
)
def test_what_is_no_outcome_of_a_candidate_is_refused(outcome: Outcome) -> None:
    with pytest.raises(InvalidInput):
        record(outcome=outcome)


def test_a_message_fits_every_back_end() -> None:
    outcome = record(outcome=Failed("RUN_ERROR", "a\x00b\ud800" + "x" * 9999)).outcome
    assert isinstance(outcome, Failed)
    assert outcome.message.startswith("a\N{REPLACEMENT CHARACTER}b?x")
    assert len(outcome.message) == LONGEST_MESSAGE
    assert outcome.message.encode()


def test_the_median_is_the_records_time() -> None:
    assert record(outcome=Measured((3e-3, 1e-3, 2e-3, 9e-3))).seconds == pytest.approx(2.5e-3)
    assert record(outcome=Censored(1.0)).seconds is None
    assert verification().verification_id != verification(ok=False).verification_id
