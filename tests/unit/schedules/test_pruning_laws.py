"""Whatever a store holds, pruning changes nothing that is asked of it, and merging knows what was pruned."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

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
    job,
    model,
    record,
    verification,
)
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddComparison,
    AddRecords,
    AddVerifications,
    CandidateTrace,
)
from tunefarm_coordinator.schedules.merging import OfferedRecord
from tunefarm_coordinator.schedules.pruning import Pruning
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
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store

WORKLOADS = [WORKLOAD, "p1:dense"]
SCOPES = [(target, name) for target in (X86, ARM) for name in (ZEN_CLASS, PI_CLASS)]
NAMES = [f"c{at}" for at in range(12)]
WHERE = st.tuples(
    st.sampled_from(WORKLOADS),
    st.sampled_from([X86, X86, X86, ARM]),
    st.sampled_from(["zen-a", "zen-a", "zen-b", "pi", "nobody's"]),
)
TIMES = st.sampled_from([1.0, 2.0, 3.0])
SECONDS = st.sampled_from([at * 1e-3 for at in range(1, 9)])
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    SECONDS.map(lambda seconds: Measured((seconds,))), st.just(Censored(0.5)), st.just(Failed("RUN_ERROR", "SIGSEGV"))
)
Fact = Record | Verification | Comparison


@st.composite
def _records(draw: st.DrawFn) -> Record:
    workload, target, device = draw(WHERE)
    return record(
        draw(st.sampled_from(NAMES)),
        outcome=draw(OUTCOMES),
        workload=workload,
        target=target,
        device=device,
        created=draw(TIMES),
        source=draw(st.sampled_from([Source.TUNED, Source.TUNED, Source.BASELINE, Source.IMPORTED])),
        # of j1, which goes on, all stay
        job=draw(st.sampled_from(["j1", "j2", "j2", "j2", "j3"])),
    )


@st.composite
def _checks(draw: st.DrawFn) -> Verification | Comparison:
    workload, target, device = draw(WHERE)
    name, created = draw(st.sampled_from(NAMES)), draw(TIMES)
    if draw(st.booleans()):
        ok = draw(st.booleans())
        return verification(name, ok=ok, created=created, workload=workload, target=target, device=device)
    times = draw(st.dictionaries(st.sampled_from(NAMES), SECONDS, min_size=1, max_size=3))
    results = tuple((identity, Measured((seconds,))) for identity, seconds in times.items())
    return new_comparison(workload=workload, target=target, device_fingerprint=device, results=results, created=created)


# Many records of few kernels, or nothing would be over the number that stays for each job.
FACTS: st.SearchStrategy[list[Fact]] = st.tuples(
    st.lists(_records(), min_size=20, max_size=60), st.lists(_checks(), max_size=4)
).map(lambda both: [*both[0], *both[1]])
KEPT = st.integers(1, 3)


@contextmanager
def _store(facts: Sequence[Fact] = ()) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
        store.write(DEVICES, model(), job("j1")).result()
        records = tuple(fact for fact in facts if isinstance(fact, Record))
        traces = {(item.workload, item.identity): f'["{item.identity}"]' for item in records}
        changes = [AddCandidates(tuple(CandidateTrace(*name, text) for name, text in traces.items()))]
        store.write(*changes, AddRecords(records)).result()
        for fact in facts:
            if isinstance(fact, Verification):
                store.write(AddVerifications((fact,))).result()
            elif isinstance(fact, Comparison):
                store.write(AddComparison(fact)).result()
        yield store


def _prune(store: Store, keep_top: int) -> int:
    wanted = Pruning(keep_top=keep_top)
    return sum(store.prune(wanted, workload).result().records for workload in store.prunable(wanted))


def _asked(store: Store, keep_top: int) -> dict[str, object]:
    """What views, plans and jobs ask of a store."""
    own = (Source.TUNED, Source.BASELINE)
    answers: dict[str, object] = {}
    for target, name in SCOPES:
        scope = (WORKLOADS, target, name)
        best = store.incumbents(*scope)
        history = [store.history(workload, target, name, keep_top) for workload in WORKLOADS]
        wanted = [*(found for found, _ in best.values()), *(item for of in history for item in of)]
        answers[f"{target} {name}"] = {
            "best": best,
            "traces": store.traces_of(wanted),
            "fastest": history,
            "counts": (store.count_valid(*scope), store.count_valid(*scope, own=True)),
            "seconds": (store.fastest_seconds(*scope, own), store.fastest_seconds(*scope, (Source.BASELINE,))),
            "verified": store.verified(*scope),
            "classes": (store.classes_of_target(target), sorted(store.classes_with_records(WORKLOADS, target))),
        }
    return answers


def _offers(store: Store) -> list[OfferedRecord]:
    """What another farm takes in of a store."""
    records = store.records(RecordFilter())
    traces = store.traces_of(records)
    return [
        OfferedRecord(replace(item, source=Source.IMPORTED, conditions={}), traces[item.workload, item.identity])
        for item in records
    ]


@examples(12)
@given(FACTS, KEPT)
def test_what_is_asked_of_a_store_is_as_before(facts: list[Fact], keep_top: int) -> None:
    with _store(facts) as store:
        before, records = _asked(store, keep_top), store.records(RecordFilter())
        gone = _prune(store, keep_top)
        assert _asked(store, keep_top) == before
        left = store.records(RecordFilter())
        assert len(left) == len(records) - gone
        assert {item.record_id for item in left} <= {item.record_id for item in records}
        assert {item.record_id for item in records if item.job_id == "j1" and item.source is not Source.IMPORTED} <= {
            item.record_id for item in left
        }
        assert len(store.traces_of(left)) == len({(item.workload, item.identity) for item in left})
        assert _prune(store, keep_top) == 0


@examples(8)
@given(FACTS, KEPT)
def test_its_own_records_coming_back_change_nothing(facts: list[Fact], keep_top: int) -> None:
    with _store(facts) as store:
        everything = _offers(store)
        _prune(store, keep_top)
        before, rows = _asked(store, keep_top), store.records(RecordFilter())
        for _ in range(2):
            taken = store.merge(everything).result()
            assert (taken.records_added, taken.records_known) == (0, len(everything))
        assert (_asked(store, keep_top), store.records(RecordFilter())) == (before, rows)


@examples(8)
@given(FACTS, FACTS, KEPT)
def test_pruning_before_or_after_a_merge_comes_to_the_same(ours: list[Fact], theirs: list[Fact], keep_top: int) -> None:
    with _store(theirs) as other:
        offers = _offers(other)
    answers = []
    for early in (False, True):
        with _store(ours) as store:
            if early:
                _prune(store, keep_top)
            store.merge(offers).result()
            _prune(store, keep_top)
            answers.append((_asked(store, keep_top), store.records(RecordFilter())))
    assert answers[0] == answers[1]
