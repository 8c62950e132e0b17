"""What every back end promises of pruning: smaller, and everything that is asked of it as before."""

from dataclasses import replace

import pytest

from tests.unit.schedules.schedule_examples import (
    ARM,
    DEVICES,
    PI_CLASS,
    WORKLOAD,
    X86,
    ZEN_CLASS,
    comparison,
    job,
    model,
    record,
    verification,
)
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules import pruning
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddComparison,
    AddRecords,
    AddVerifications,
    Calibrate,
    CandidateTrace,
    UpdateJob,
)
from tunefarm_coordinator.schedules.merging import OfferedRecord, Taken
from tunefarm_coordinator.schedules.pruning import Pruning
from tunefarm_coordinator.schedules.record import Censored, Failed, Record, Source
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.retracting import Facts
from tunefarm_coordinator.schedules.store import Store

OWN = (Source.TUNED, Source.BASELINE)


def _each_of_its_own_job(count: int, **fields: object) -> list[Record]:
    """c0, the fastest, and so on; each job's fastest stay, so a job has one."""
    return [record(f"c{at}", 1e-3 * (at + 1), job=f"j{at}", **fields) for at in range(count)]  # type: ignore[arg-type]


def _jobs_last(*records: Record) -> tuple[Record, ...]:
    """Records behind as many faster ones of one job's as stay for the job."""
    fast = [record(f"fast{at}", 1e-6 * (at + 1), job="j1") for at in range(6)]
    return (*fast, *records)


def _write(store: Store, *records: Record) -> None:
    traces = {(item.workload, item.identity): f'["{item.identity}"]' for item in records}
    candidates = tuple(CandidateTrace(*name, trace) for name, trace in traces.items())
    store.write(DEVICES, AddCandidates(candidates), AddRecords(records)).result()


def _prune(store: Store, wanted: Pruning) -> int:
    """Prunes to the end, as it was said that it would; how many records."""
    total = 0
    for workload in store.prunable(wanted):
        said = store.would_prune(wanted, workload)
        records = traces = 0
        more = True
        while more:
            step = store.prune(wanted, workload).result()
            records, traces, more = records + step.records, traces + step.traces, step.more
        assert (records, traces) == (said.records, said.traces)
        assert store.prune(wanted, workload).result().records == 0
        total += records
    return total


def _left(store: Store) -> set[str]:
    return {item.identity for item in store.records(RecordFilter())}


class TestWhatStays:
    def test_the_fastest_stay_and_the_others_count(self, store: Store) -> None:
        failed = record("broken", outcome=Failed("RUN_ERROR", "x"), job="f")
        slow = record("slow", outcome=Censored(1.0), job="s")
        _write(store, *_jobs_last(failed, slow, record("c9", 5e-3)))
        before = store.history(WORKLOAD, X86, ZEN_CLASS, 3)
        counts = store.count_valid([WORKLOAD, "other"], X86, ZEN_CLASS)
        assert _prune(store, Pruning(keep_top=3)) == 3
        assert store.history(WORKLOAD, X86, ZEN_CLASS, 3) == before
        assert store.count_valid([WORKLOAD, "other"], X86, ZEN_CLASS) == counts == {WORKLOAD: 8}
        assert _left(store) == {f"fast{at}" for at in range(6)}
        stats = store.stats()
        assert (stats.records, stats.pruned, stats.retracted) == (6, 3, 0)

    def test_the_fastest_of_each_job_stay_so_that_it_can_go_on(self, store: Store) -> None:
        _write(store, *(record(f"c{at}", 1e-3 * (at + 1), job="old") for at in range(9)), record("c0", 9.0, job="new"))
        assert _prune(store, Pruning(keep_top=1)) == 3
        assert _left(store) == {f"c{at}" for at in range(6)}
        assert len(store.records(RecordFilter())) == 7
        assert store.traces(WORKLOAD, ["c5", "c6"]) == {"c5": '["c5"]'}

    def test_a_job_that_goes_on_keeps_everything(self, store: Store) -> None:
        store.write(model(), job("j1")).result()
        _write(store, *_jobs_last(record("slow", 9.0), record("bad", outcome=Failed("RUN_ERROR", ""))))
        assert _prune(store, Pruning(keep_top=1)) == 0
        store.write(UpdateJob("j1", "FAILED", b"", ended=900.0)).result()
        assert _prune(store, Pruning(keep_top=1)) == 2

    def test_what_was_verified_or_compared_stays(self, store: Store) -> None:
        _write(store, *_jobs_last(*(record(name, 1.0) for name in ("good", "bad", "met", "else"))))
        checks = AddVerifications((verification("good"), verification("bad", ok=False)))
        store.write(checks, AddComparison(comparison(("met", 1.0), ("gone", 2.0)))).result()
        before = store.best(WORKLOAD, X86, ZEN_CLASS)
        assert _prune(store, Pruning(keep_top=1)) == 1
        assert _left(store) >= {"good", "bad", "met"}
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == before
        # of a candidate the fastest record alone, though
        _write(store, record("good", 2.0), record("good", 1.5, source=Source.BASELINE))
        assert _prune(store, Pruning(keep_top=1)) == 1

    def test_what_others_say_pushes_nothing_of_ours_out(self, store: Store) -> None:
        theirs = [record(f"t{at}", 1e-9 * (at + 1), source=Source.IMPORTED, job="far") for at in range(4)]
        default = record("default:x", 0.5, source=Source.BASELINE, job="d")
        _write(store, *theirs, *_jobs_last(record("slow", 1.0)), default)
        seconds = store.fastest_seconds([WORKLOAD], X86, ZEN_CLASS, OWN)
        assert _prune(store, Pruning(keep_top=2)) == 3
        assert store.fastest_seconds([WORKLOAD], X86, ZEN_CLASS, OWN) == seconds == {WORKLOAD: 1e-6}
        assert store.fastest_seconds([WORKLOAD], X86, ZEN_CLASS, (Source.BASELINE,)) == {WORKLOAD: 0.5}
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: 11}
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS, own=True) == {WORKLOAD: 7}
        assert _left(store) >= {"t0", "t1", "fast0", "default:x"}

    def test_each_scope_keeps_its_own(self, store: Store) -> None:
        places = [
            {"workload": workload, "target": target, "device": device}
            for workload in (WORKLOAD, "p1:dense")
            for target in (X86, ARM)
            for device in ("zen-a", "pi", "nobody's")
        ]
        names = [f"c{at}" for at in range(8)]
        written = [record(name, 1.0 + at, **place) for place in places for at, name in enumerate(names)]  # type: ignore[arg-type]
        _write(store, *written)
        assert _prune(store, Pruning(keep_top=1)) == 2 * len(places)
        for place in places[:2]:
            scope = (place["workload"], place["target"], ZEN_CLASS if place["device"] == "zen-a" else PI_CLASS)
            assert [item.identity for item in store.history(*scope, 9)] == names[:6]
            assert store.count_valid([scope[0]], *scope[1:]) == {scope[0]: 8}


class TestWhatGoes:
    def test_all_that_is_given_has_to_hold_for_it(self, store: Store) -> None:
        wanted = {
            Pruning(keep_top=1, workload="p1:dense"): 0,
            Pruning(keep_top=1, target=ARM): 0,
            Pruning(keep_top=1, device_class=PI_CLASS): 0,
            Pruning(keep_top=1, project="audio"): 1,
            Pruning(keep_top=1, before=450.0): 2,
            Pruning(keep_top=1, before=400.0, project="audio"): 0,
            Pruning(keep_top=1, workload=WORKLOAD, target=X86.replace(",", " , "), device_class=ZEN_CLASS): 3,
        }
        others = (record("a", 1.0), record("b", 1.0, project="audio"), record("c", 1.0, created=500.0))
        _write(store, *_jobs_last(*others))
        for pruning_, count in wanted.items():
            found = [store.would_prune(pruning_, workload).records for workload in store.prunable(pruning_)]
            assert sum(found) == count
        assert _prune(store, Pruning(keep_top=1, before=450.0)) == 2
        assert _left(store) == {"c", *(f"fast{at}" for at in range(6))}

    def test_a_trace_goes_with_its_last_record(self, store: Store) -> None:
        _write(store, *_jobs_last(record("a", 1.0), record("b", 1.0), record("b", 2.0, device="pi")))
        assert _prune(store, Pruning(keep_top=1)) == 2
        assert store.traces(WORKLOAD, ["a", "b"]) == {"b": '["b"]'}

    def test_a_step_is_as_long_as_others_may_wait(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pruning, "STEP_RECORDS", 2)
        _write(store, *_jobs_last(*(record(f"c{at}", 1.0 + at) for at in range(5))))
        wanted = Pruning(keep_top=1)
        steps = [store.prune(wanted, WORKLOAD).result() for _ in range(4)]
        assert [(step.records, step.more) for step in steps] == [(2, True), (2, True), (1, False), (0, False)]
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: 11}

    @pytest.mark.parametrize("wanted", [Pruning(keep_top=0), Pruning(keep_top=1, target="llvm")])
    def test_nothing_goes_where_it_is_not_clear_what_stays(self, store: Store, wanted: Pruning) -> None:
        _write(store, *_each_of_its_own_job(2))
        with pytest.raises(InvalidInput, match=r"keep_top|target"):
            store.prunable(wanted)
        assert len(_left(store)) == 2


class TestAfterwards:
    def test_another_stores_copy_is_not_taken_in_nor_counted_again(self, store: Store) -> None:
        gone = record("slow", 1.0)
        _write(store, *_jobs_last(gone))
        assert _prune(store, Pruning(keep_top=1)) == 1
        rows = store.records(RecordFilter())
        offers = [OfferedRecord(replace(gone, source=Source.IMPORTED), "[1]")] * 2
        assert store.merge(offers).result() == Taken(0, 2)
        assert store.records(RecordFilter()) == rows
        assert store.traces(WORKLOAD, ["slow"]) == {}
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: 7}

    def test_what_is_told_again_goes_again_and_counts_once(self, store: Store) -> None:
        gone = record("slow", 1.0)
        _write(store, *_jobs_last(gone))
        for _ in range(2):
            _write(store, gone)
            assert _prune(store, Pruning(keep_top=1)) == 1
            assert store.count_valid([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: 7}

    def test_what_is_taken_back_later_counts_no_more(self, store: Store) -> None:
        slow = [record(f"slow{at}", 1.0, agent="broken", created=400.0 + at) for at in range(3)]
        _write(store, *_jobs_last(record("bad", 1e-9, agent="broken"), *slow, record("fine", 1.0)))
        assert _prune(store, Pruning(keep_top=1)) == 5  # the job's fastest is the bad one, so one of the fast ones goes
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: 11}
        some = Facts(agent_id="broken", since=401.0, until=402.0)
        assert store.would_retract(some).records == 1
        assert store.retract(some, "", 900.0).result().records == 1
        rest = Facts(agent_id="broken")
        taken = store.retract(rest, "", 901.0).result()
        assert (taken.records, taken.workloads) == (3, 1)
        assert store.would_retract(rest).records == 0
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: 7}
        assert (store.stats().retracted, store.stats().pruned) == (4, 2)
        assert store.merge([OfferedRecord(replace(item, source=Source.IMPORTED), "[]") for item in slow]).result() == (
            Taken(0, 3)
        )

    def test_counts_follow_a_device_into_another_class(self, store: Store) -> None:
        _write(store, *_jobs_last(record("a", 1.0), record("b", 1.0, device="zen-b", job="j2")))
        _write(store, *(record(f"d{at}", 0.1, device="zen-b", job="j2", created=at) for at in range(6)))
        assert _prune(store, Pruning(keep_top=1)) == 2
        store.write(Calibrate("zen-a", "matmul", 1.0), Calibrate("zen-b", "matmul", 2.0)).result()
        other = store.device_classes()["zen-b"]
        assert other != ZEN_CLASS
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: 7}
        assert store.count_valid([WORKLOAD], X86, other) == {WORKLOAD: 7}
