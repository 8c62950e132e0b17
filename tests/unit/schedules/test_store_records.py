"""What every back end promises of records and best: one suite, run over each (conftest.py)."""

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
    record,
    verification,
)
from tunefarm_coordinator.errors import Conflict, InvalidInput
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddComparison,
    AddDevices,
    AddRecords,
    AddVerifications,
    AddWorkloads,
    CandidateTrace,
    DeviceFacts,
    KnownWorkload,
)
from tunefarm_coordinator.schedules.merging import OfferedRecord, Taken
from tunefarm_coordinator.schedules.record import Censored, Failed, Measured, Record, Source
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.retracting import Facts, Retracted
from tunefarm_coordinator.schedules.store import Store


def _offered(ours: Record, trace: str = "[]") -> OfferedRecord:
    return OfferedRecord(replace(ours, source=Source.IMPORTED), trace)


class TestWorkloads:
    def test_what_a_workload_stands_for_comes_back(self, store: Store) -> None:
        known = KnownWorkload("5-abc", "matmul", '{"a": "\N{SNOWMAN}"}', 1024.0, 1763862000.5, "matmul", ((8, 8), ()))
        store.write(AddWorkloads((known,))).result()
        assert store.workloads(["5-abc", "5-other", "5-abc"]) == {"5-abc": known}

    def test_kernels_alike_are_found_where_they_were_measured(self, store: Store) -> None:
        kernels = [
            KnownWorkload(name, name, "{}", 1.0, 1.0, kind, ((1, size), (size, 8)))
            for name, kind, size in (("w1", "dense", 4), ("w2", "dense", 8), ("w3", "conv", 4), ("w4", "dense", 2))
        ]
        records = [record(workload="w1"), record(workload="w2", device="pi", target=ARM), record(workload="w3")]
        failed = record(workload="w4", outcome=Failed("RUN_ERROR", ""))
        store.write(DEVICES, AddWorkloads(tuple(kernels)), AddRecords((*records, failed))).result()
        assert store.alike("dense", X86, ZEN_CLASS) == {"w1": ((1, 4), (4, 8))}
        assert store.alike("dense", ARM, PI_CLASS) == {"w2": ((1, 8), (8, 8))}
        assert store.alike("pool", X86, ZEN_CLASS) == {}

    def test_the_first_that_was_met_stays(self, store: Store) -> None:
        first = KnownWorkload("5-abc", "matmul_8x8", "{}", 1024.0, 1.0)
        store.write(AddWorkloads((first, replace(first, name="again")))).result()
        store.write(AddWorkloads((replace(first, name="later", created=2.0),))).result()
        assert store.workloads(["5-abc"]) == {"5-abc": first}


class TestSeconds:
    def test_the_fastest_record_tells_how_long_a_kernel_takes(self, store: Store) -> None:
        records = [
            record("a", 3e-3),
            record("a", 2e-3),
            record("d", 5e-3, source=Source.BASELINE),
            record("b", 1e-3, device="pi"),
            record("c", outcome=Censored(1e-4)),
        ]
        store.write(DEVICES, AddRecords(tuple(records))).result()
        own = (Source.TUNED, Source.BASELINE)
        assert store.fastest_seconds([WORKLOAD, "other"], X86, ZEN_CLASS, own) == {WORKLOAD: 2e-3}
        assert store.fastest_seconds([WORKLOAD], X86, ZEN_CLASS, (Source.BASELINE,)) == {WORKLOAD: 5e-3}

    def test_what_was_imported_can_be_told_from_what_was_spent_here(self, store: Store) -> None:
        foreign = record("b", 1e-9, source=Source.IMPORTED)
        store.write(DEVICES, AddRecords((record("a", 2e-3), foreign))).result()
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: 2}
        assert store.count_valid([WORKLOAD], X86, ZEN_CLASS, own=True) == {WORKLOAD: 1}
        assert store.fastest_seconds([WORKLOAD], X86, ZEN_CLASS, (Source.TUNED,)) == {WORKLOAD: 2e-3}

    def test_classes_with_records_are_counted_by_their_devices(self, store: Store) -> None:
        records = [record("a"), record("b", device="zen-b"), record("c", device="pi"), record("d", device="nobody")]
        store.write(DEVICES, AddRecords(tuple(records))).result()
        assert store.classes_with_records([WORKLOAD], X86) == {ZEN_CLASS: 2, PI_CLASS: 1}
        assert store.classes_with_records(["other"], X86) == {}

    def test_candidates_that_passed_their_checks_are_verified(self, store: Store) -> None:
        checks = (verification("a"), verification("b"), verification("b", ok=False, created=9e9))
        store.write(DEVICES, AddVerifications(checks)).result()
        assert store.verified([WORKLOAD, "other"], X86, ZEN_CLASS) == {WORKLOAD: frozenset({"a"})}


class TestRecords:
    def test_every_outcome_comes_back_as_it_was(self, store: Store) -> None:
        written = [
            record("c1", outcome=Measured((1e-3, 0.1 + 0.2, 5e-324)), conditions={"temperature": 41.5}),
            record("c2", outcome=Censored(0.25)),
            record("c3", outcome=Failed("RUN_ERROR", "SIGSEGV \N{SNOWMAN}")),
        ]
        store.write(AddRecords(tuple(written))).result()
        assert store.records(RecordFilter()) == sorted(written, key=lambda item: item.record_id)
        assert store.records(RecordFilter(valid_only=True)) == [written[0]]

    def test_one_record_is_kept_once(self, store: Store) -> None:
        store.write(AddRecords((record(), record()))).result()
        store.write(AddRecords((record(),)), AddRecords((record("c2"),))).result()
        assert len(store.records(RecordFilter())) == 2
        offered = [_offered(record()), _offered(record("c3")), _offered(record("c3"))]
        assert store.merge(offered).result() == Taken(records_added=1, records_known=2)

    def test_a_record_that_is_not_what_its_name_says_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidInput, match="content"):
            store.write(AddRecords((replace(record(), outcome=Measured((1e-9,))),))).result()
        store.write(AddRecords((record(),))).result()
        (read,) = store.records(RecordFilter())
        with pytest.raises(InvalidInput, match="content"):
            store.write(AddRecords((replace(read, target=ARM),))).result()

    def test_our_own_record_stays_ours_when_it_is_imported(self, store: Store) -> None:
        ours, back = record(conditions={"number": 3}), record(source=Source.IMPORTED)
        assert ours.record_id == back.record_id
        store.write(AddRecords((back,))).result()
        store.write(AddRecords((ours,))).result()
        store.write(AddRecords((back,))).result()
        assert store.records(RecordFilter()) == [ours]

    def test_records_are_filtered_and_paged(self, store: Store) -> None:
        kinds = [
            {"workload": "w2"},
            {"target": ARM},
            {"device": "pi"},
            {"device": "zen-b"},
            {"project": "audio"},
        ]
        written = [record()] + [record(**kind) for kind in kinds]  # type: ignore[arg-type]
        store.write(DEVICES, AddRecords(tuple(written))).result()

        def matching(wanted: RecordFilter) -> list[str]:
            return [found.record_id for found in store.records(wanted)]

        ids = {item.record_id for item in written}
        assert set(matching(RecordFilter(workload="w2"))) == {written[1].record_id}
        assert set(matching(RecordFilter(target=ARM.replace(",", " , ")))) == {written[2].record_id}
        assert set(matching(RecordFilter(device_class=PI_CLASS))) == {written[3].record_id}
        assert set(matching(RecordFilter(device_class=ZEN_CLASS))) == ids - {written[3].record_id}
        assert set(matching(RecordFilter(project="audio"))) == {written[5].record_id}
        first = store.records(RecordFilter(), limit=4)
        rest = store.records(RecordFilter(), limit=4, after=first[-1].record_id)
        assert [item.record_id for item in first + rest] == sorted(ids)

    def test_traces_come_back_and_the_first_one_stays(self, store: Store) -> None:
        long = '["' + "split" * 5000 + '"]'
        store.write(AddCandidates((CandidateTrace("w", "a", long), CandidateTrace("w", "b", "[]")))).result()
        store.write(AddCandidates((CandidateTrace("w", "a", "[1]"), CandidateTrace("v", "a", "[2]")))).result()
        assert store.traces("w", ["a", "b", "c"]) == {"a": long, "b": "[]"}
        assert store.traces("v", ["a"]) == {"a": "[2]"}

    def test_a_merge_takes_all_or_nothing_and_replaces_no_trace_of_ours(self, store: Store) -> None:
        store.write(DEVICES, AddCandidates((CandidateTrace(WORKLOAD, "c1", "[]"),))).result()
        store.merge([_offered(record(), "[6]")]).result()
        assert store.traces(WORKLOAD, ["c1"]) == {"c1": "[]"}
        with pytest.raises(Conflict, match="other facts"):
            store.merge([_offered(record("c2")), DeviceFacts("pi", {"cores": "5"})]).result()
        with pytest.raises(InvalidInput, match="imported"):
            store.merge([OfferedRecord(record("c2"), "[]")]).result()
        assert store.traces(WORKLOAD, ["c1", "c2"]) == {"c1": "[]"}
        assert store.records(RecordFilter()) == [record(source=Source.IMPORTED)]

    def test_of_imported_traces_one_stays_whatever_the_order(self, store: Store) -> None:
        for name, order in (("a", ("[1]", "[2]", "[3]")), ("b", ("[3]", "[1]", "[2]")), ("c", ("[2]", "[3]", "[1]"))):
            for trace in order:
                store.merge([_offered(record(name), trace)]).result()
        assert len(set(store.traces(WORKLOAD, ["a", "b", "c"]).values())) == 1

    def test_our_own_trace_takes_an_imported_ones_place_until_that_was_measured_here(self, store: Store) -> None:
        store.merge([_offered(record("a"), "[1]"), _offered(record("b"), "[1]")]).result()
        store.write(AddRecords((record("b", 2e-3),))).result()
        traces = tuple(CandidateTrace(WORKLOAD, name, "[2]") for name in ("a", "b"))
        store.write(AddCandidates(traces)).result()
        assert store.traces(WORKLOAD, ["a", "b"]) == {"a": "[2]", "b": "[1]"}
        store.merge([_offered(record("a"), "[0]"), _offered(record("b"), "[0]")]).result()
        assert store.traces(WORKLOAD, ["a", "b"]) == {"a": "[2]", "b": "[1]"}

    def test_devices_never_change(self, store: Store) -> None:
        store.write(DEVICES, DEVICES).result()
        assert store.device_facts("pi") == DEVICES.devices[2].facts
        assert store.device_facts("unknown") is None
        with pytest.raises(Conflict, match="pi"):
            store.write(AddDevices((DeviceFacts("pi", {"cores": "5"}),))).result()


class TestBest:
    """A fast record of another target, device class or workload must never show (design.md, invariant 5)."""

    def test_only_what_is_verified_is_best(self, store: Store) -> None:
        slow, fast = record("slow", 3e-3, device="zen-b"), record("fast", 1e-3)
        store.write(DEVICES, AddRecords((slow, fast))).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (fast, False)
        store.write(AddVerifications((verification("slow"),))).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (slow, True)
        store.write(AddVerifications((verification("fast"),))).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (fast, True)
        store.write(AddVerifications((verification("fast", ok=False, created=501.0),))).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (slow, True)

    def test_a_comparison_decides_between_the_two_fastest(self, store: Store) -> None:
        lucky, winner = record("lucky", 1.0e-3), record("winner", 1.1e-3)
        checks = AddVerifications((verification("lucky"), verification("winner")))
        store.write(DEVICES, AddRecords((lucky, winner)), checks).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (lucky, True)
        store.write(AddComparison(comparison(("lucky", 1.2e-3), ("winner", 1.0e-3)))).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (winner, True)

    def test_an_imported_record_is_never_best(self, store: Store) -> None:
        ours, theirs = record("c1", 2e-3), record("c1", 1e-6, source=Source.IMPORTED)
        store.write(DEVICES, AddRecords((ours, theirs)), AddVerifications((verification("c1"),))).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (ours, True)

    def test_no_scope_sees_into_another(self, store: Store) -> None:
        workloads, targets = (WORKLOAD, "p1:dense"), (X86, ARM)
        written: dict[tuple[str, str, str], Record] = {}
        for number, workload in enumerate(workloads):
            for other, target in enumerate(targets):
                for third, (device, name) in enumerate((("zen-a", ZEN_CLASS), ("pi", PI_CLASS))):
                    seconds = 1e-3 * (1 + number + 2 * other + 4 * third)
                    written[workload, target, name] = record(
                        "same", seconds, workload=workload, target=target, device=device
                    )
        store.write(DEVICES, AddRecords(tuple(written.values()))).result()
        for (workload, target, name), expected in written.items():
            assert store.best(workload, target, name) == (expected, False)
            assert store.history(workload, target, name, 9) == [expected]
            assert store.count_valid([workload], target, name) == {workload: 1}
        # verified in one scope, that is not verified in any other
        store.write(AddVerifications((verification("same"),))).result()
        for (workload, target, name), expected in written.items():
            verified = (workload, target, name) == (WORKLOAD, X86, ZEN_CLASS)
            assert store.best(workload, target, name) == (expected, verified)

    def test_a_device_counts_from_the_moment_it_is_known(self, store: Store) -> None:
        """Readers remember the devices that they have seen, and ask for new ones alone."""
        records = [record(device.fingerprint, device=device.fingerprint) for device in DEVICES.devices]
        store.write(AddRecords(tuple(records))).result()
        for number, device in enumerate(DEVICES.devices, start=1):
            store.write(AddDevices((device,))).result()
            scopes = [store.history(WORKLOAD, X86, name, 9) for name in (ZEN_CLASS, PI_CLASS)]
            found = {item.identity for scope in scopes for item in scope}
            assert found == {item.fingerprint for item in DEVICES.devices[:number]}

    def test_nothing_valid_is_nothing(self, store: Store) -> None:
        failed = record("c1", outcome=Failed("RUN_ERROR", "")), record("c2", outcome=Censored(1.0))
        store.write(AddRecords((*failed, record("c3", 1e-3, device="zen-a")))).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) is None  # the device itself is not known yet
        store.write(DEVICES).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (record("c3", 1e-3), False)
        assert store.best(WORKLOAD, X86, PI_CLASS) is None
        with pytest.raises(InvalidInput, match="target"):
            store.best(WORKLOAD, "llvm -mcpu=znver4", ZEN_CLASS)

    def test_incumbents_of_a_whole_job_are_those_of_each_task(self, store: Store) -> None:
        workloads = [f"w{number}" for number in range(1200)]
        written = [record(f"c{n % 3}", 1e-3 * (n % 5 + 1), workload=name) for n, name in enumerate(workloads[:900])]
        checks = [verification(item.identity, workload=item.workload) for item in written[::7]]
        store.write(DEVICES, AddRecords(tuple(written)), AddVerifications(tuple(checks))).result()
        found = store.incumbents(workloads, X86, ZEN_CLASS)
        assert found == {item.workload: (item, index % 7 == 0) for index, item in enumerate(written)}

    def test_history_has_each_candidates_fastest_first(self, store: Store) -> None:
        records = [record("a", 3e-3), record("a", 1e-3), record("b", 2e-3), record("c", outcome=Censored(1.0))]
        store.write(DEVICES, AddRecords(tuple(records))).result()
        assert store.history(WORKLOAD, X86, ZEN_CLASS, 10) == [records[1], records[2]]
        assert store.history(WORKLOAD, X86, ZEN_CLASS, 1) == [records[1]]
        # One that was let go is a trial like another.
        assert store.count_valid([WORKLOAD, "other"], X86, ZEN_CLASS) == {WORKLOAD: 4}


class TestRetraction:
    def test_what_is_best_is_best_of_what_was_not_taken_back(self, store: Store) -> None:
        records = (record("bad", 1e-9, agent="broken"), record("good", 2e-3, agent="sound"))
        checks = (verification("bad", agent="broken"), verification("good", agent="sound"))
        compared = AddComparison(comparison(("bad", 1e-9), ("good", 2e-3), agent="broken"))
        store.write(DEVICES, AddRecords(records), AddVerifications(checks), compared).result()
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (records[0], True)
        broken = Facts(agent_id="broken")
        expected = Retracted(records=1, verifications=1, comparisons=1, workloads=1)
        assert store.would_retract(broken) == expected
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (records[0], True)
        assert store.retract(broken, "its clock stood still", 900.0).result() == expected
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (records[1], True)
        assert store.records(RecordFilter()) == [records[1]]
        assert (store.stats().records, store.stats().retracted) == (1, 1)
        assert store.retract(broken, "again", 901.0).result() == Retracted(0, 0, 0, 0)

    def test_another_stores_copy_stays_out(self, store: Store) -> None:
        store.write(DEVICES, AddRecords((record("bad", agent="broken"),))).result()
        store.retract(Facts(agent_id="broken"), "", 900.0).result()
        assert store.merge([_offered(record("bad")), _offered(record("good"))]).result() == Taken(1, 1)
        assert [found.identity for found in store.records(RecordFilter())] == ["good"]

    def test_all_that_is_given_has_to_hold(self, store: Store) -> None:
        written = [
            record(agent="a", device="zen-a", job="j1", created=400.0),
            record(agent="a", device="zen-b", job="j2", created=500.0),
            record(agent="b", device="zen-b", job="j2", created=600.0),
        ]
        store.write(DEVICES, AddRecords(tuple(written))).result()
        counts = {
            Facts(agent_id="a"): 2,
            Facts(device_fingerprint="zen-b"): 2,
            Facts(job_id="j1"): 1,
            Facts(since=500.0): 2,
            Facts(until=500.0): 1,
            Facts(agent_id="a", device_fingerprint="zen-b"): 1,
            Facts(agent_id="b", until=600.0): 0,
        }
        assert {facts: store.would_retract(facts).records for facts in counts} == counts
        for facts in counts:
            before = store.stats().records
            expected = store.would_retract(facts).records
            store.retract(facts, "", 900.0).result()
            assert store.stats().records == before - expected

    def test_nobody_takes_everything_back_by_leaving_all_open(self, store: Store) -> None:
        store.write(AddRecords((record(),))).result()
        with pytest.raises(InvalidInput, match="Name an agent"):
            store.retract(Facts(), "", 900.0).result()
        with pytest.raises(InvalidInput, match="Name an agent"):
            store.would_retract(Facts())
        assert store.stats().records == 1
