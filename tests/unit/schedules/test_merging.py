"""Merging stores: in any order and however often, the same store and the same best."""

import random
import tempfile
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.schedules.schedule_examples import (
    ARM,
    DEVICES,
    PI_CLASS,
    WORKLOAD,
    X86,
    ZEN_CLASS,
    record,
    verification,
)
from tunefarm_coordinator.schedules import ranking
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddComparison,
    AddDevices,
    AddRecords,
    AddVerifications,
    CandidateTrace,
    Change,
)
from tunefarm_coordinator.schedules.record import Comparison, Measured, Record, Source, Verification, new_comparison
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store

NAMES = ["a", "b", "c"]
CLASSES = {"zen-a": ZEN_CLASS, "zen-b": ZEN_CLASS, "pi": PI_CLASS}
WHERE = st.tuples(st.sampled_from([WORKLOAD, "p1:dense"]), st.sampled_from([X86, ARM]), st.sampled_from(list(CLASSES)))
TIMES = st.sampled_from([1.0, 2.0, 3.0])
SECONDS = st.sampled_from([1e-3, 2e-3, 3e-3])


@st.composite
def _records(draw: st.DrawFn) -> Record:
    workload, target, device = draw(WHERE)
    return record(
        draw(st.sampled_from(NAMES)),
        draw(SECONDS),
        workload=workload,
        target=target,
        device=device,
        created=draw(TIMES),
        source=draw(st.sampled_from(Source)),
        conditions=draw(st.sampled_from([{}, {"temperature": 40.0}, {"temperature": 50.0}])),
    )


@st.composite
def _verifications(draw: st.DrawFn) -> Verification:
    workload, target, device = draw(WHERE)
    return verification(
        draw(st.sampled_from(NAMES)),
        ok=draw(st.booleans()),
        created=draw(TIMES),
        workload=workload,
        target=target,
        device=device,
    )


@st.composite
def _comparisons(draw: st.DrawFn) -> Comparison:
    workload, target, device = draw(WHERE)
    times = draw(st.dictionaries(st.sampled_from(NAMES), SECONDS, min_size=1))
    results = tuple((name, Measured((seconds,))) for name, seconds in times.items())
    return new_comparison(
        workload=workload, target=target, device_fingerprint=device, results=results, created=draw(TIMES)
    )


FACTS = st.lists(_records() | _verifications() | _comparisons(), max_size=14)


def _change(fact: Record | Verification | Comparison) -> tuple[Change, ...]:
    if isinstance(fact, Record):
        trace = CandidateTrace(fact.workload, fact.identity, f'["{fact.workload}", "{fact.identity}"]')
        return AddCandidates((trace,)), AddRecords((fact,))
    return (AddVerifications((fact,)),) if isinstance(fact, Verification) else (AddComparison(fact),)


def _merged(changes: Sequence[tuple[Change, ...]]) -> tuple[object, ...]:
    """Everything that can be asked of a store that was given these changes."""
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
        for future in [store.write(*change) for change in changes]:
            future.result()
        records = store.records(RecordFilter())
        best = {
            (target, name): store.incumbents([WORKLOAD, "p1:dense"], target, name)
            for target in (X86, ARM)
            for name in (ZEN_CLASS, PI_CLASS)
        }
        return records, store.traces_of(records), best


@examples(8)
@given(FACTS, st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_store(facts: list[Record], shuffle: random.Random) -> None:
    changes: list[tuple[Change, ...]] = [(DEVICES,), *(_change(fact) for fact in facts)]
    again: list[tuple[Change, ...]] = changes + changes[::2]
    shuffle.shuffle(again)
    assert _merged(again) == _merged(changes)


@examples(12)
@given(FACTS)
def test_the_store_answers_what_the_pure_views_say(facts: list[Record | Verification | Comparison]) -> None:
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
        store.write(AddDevices(DEVICES.devices)).result()
        for fact in facts:
            store.write(*_change(fact)).result()
        records = store.records(RecordFilter())  # merged, so that each has its strongest source
        for workload in (WORKLOAD, "p1:dense"):
            for target in (X86, ARM):
                for name in (ZEN_CLASS, PI_CLASS):

                    def here(fact: Record | Verification | Comparison, scope: tuple[str, str, str]) -> bool:
                        return (fact.workload, fact.target, CLASSES[fact.device_fingerprint]) == scope

                    scope = (workload, target, name)
                    expected = ranking.ranked(
                        [item for item in records if here(item, scope)],
                        [item for item in facts if isinstance(item, Verification) and here(item, scope)],
                        [item for item in facts if isinstance(item, Comparison) and here(item, scope)],
                    )
                    assert store.best(*scope) == expected
