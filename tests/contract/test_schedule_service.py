"""ScheduleService over a real server and channel."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.schedule_farm import NO_DATABASES, NO_MODELS, ScheduleFarm
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
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddRecords,
    AddVerifications,
    AddWorkloads,
    CandidateTrace,
    DeviceFacts,
    KnownWorkload,
)
from tunefarm_coordinator.schedules.record import Censored, Failed, Measured, Outcome, Record, Source, new_record
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.schedule import ScheduleService
from tunefarm_coordinator.service.schedule_messages import (
    device_item,
    offer_of,
    record_message,
    record_of,
    timestamp,
    unix_seconds,
    workload_item,
)
from tunefarm_proto.v1 import common_pb2, schedule_pb2, schedule_pb2_grpc

KNOWN = KnownWorkload(WORKLOAD, "conv", '{"module": 1}', 1e6, 1763862000.25)
TRACE = '["trace"]'
Items = Sequence[schedule_pb2.ScheduleItem]
Stub = schedule_pb2_grpc.ScheduleServiceStub


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        opened.write(DEVICES).result()
        yield opened


@pytest.fixture
async def schedules(store: Store) -> AsyncIterator[Stub]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(ScheduleService(store, NO_MODELS, NO_DATABASES), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield schedule_pb2_grpc.ScheduleServiceStub(channel)
    await server.stop(None)


def _keep(store: Store, *records: Record) -> None:
    traces = {(item.workload, item.identity): CandidateTrace(item.workload, item.identity, TRACE) for item in records}
    store.write(AddCandidates(tuple(traces.values())), AddRecords(records)).result()


def _query(workload: str = WORKLOAD, target: str = X86, name: str = ZEN_CLASS) -> schedule_pb2.QueryBestRequest:
    return schedule_pb2.QueryBestRequest(workload=workload, target=target, device_class=name)


async def _export(schedules: Stub, **wanted: str) -> list[schedule_pb2.ScheduleItem]:
    answers = schedules.ExportSchedules(schedule_pb2.ExportSchedulesRequest(**wanted))
    return [item async for answer in answers for item in answer.items]


async def _exported_ids(schedules: Stub, **wanted: str) -> list[str]:
    return [item.record.record_id for item in await _export(schedules, **wanted) if item.HasField("record")]


async def _import(schedules: Stub, *batches: Items) -> list[schedule_pb2.ImportSchedulesResponse]:
    """An answer for each batch; lines count from 1 over all of them."""
    requests, line = [], 0
    for batch in batches:
        request = schedule_pb2.ImportSchedulesRequest()
        for item in batch:
            line += 1
            request.items.append(schedule_pb2.NumberedItem(line=line, item=item))
        requests.append(request)
    return [answer async for answer in schedules.ImportSchedules(iter(requests))]


def _item(kept: Record, trace: str = TRACE) -> schedule_pb2.ScheduleItem:
    return schedule_pb2.ScheduleItem(record=record_message(kept, trace))


def _added(*answers: schedule_pb2.ImportSchedulesResponse) -> tuple[int, int]:
    return sum(answer.records_added for answer in answers), sum(answer.records_known for answer in answers)


class TestQueryBest:
    async def test_it_tells_contender_from_best(self, store: Store, schedules: Stub) -> None:
        _keep(store, record("c1", 1e-3))
        answer = await schedules.QueryBest(_query(target=X86.replace(",", ", ")))
        assert not answer.verified
        assert (answer.record.candidate_id, answer.record.trace, list(answer.record.seconds)) == ("c1", TRACE, [1e-3])

        store.write(AddVerifications((verification("c1"),))).result()
        assert (await schedules.QueryBest(_query())).verified

    @pytest.mark.parametrize(
        "other", [_query(workload="p1:dense"), _query(target=ARM), _query(name=PI_CLASS), _query(name="v1:none-0")]
    )
    async def test_another_scopes_record_is_not_found(
        self,
        store: Store,
        schedules: Stub,
        other: schedule_pb2.QueryBestRequest,
    ) -> None:
        _keep(store, record())
        with pytest.raises(grpc.aio.AioRpcError, match="no valid record") as caught:
            await schedules.QueryBest(other)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize("bad", [_query(workload=""), _query(target=""), _query(target="llvm"), _query(name="")])
    async def test_a_query_without_a_scope_is_refused(
        self, schedules: Stub, bad: schedule_pb2.QueryBestRequest
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await schedules.QueryBest(bad)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class TestExportAndImport:
    async def test_what_one_farm_exports_another_takes_once(
        self, tmp_path: Path, store: Store, schedules: Stub
    ) -> None:
        written = [
            *(record(f"c{number}", 1e-3 + number * 1e-6, created=1.7e9 + number / 7) for number in range(1150)),
            record("slow", outcome=Censored(0.5)),
            record("bad", outcome=Failed("WRONG_OUTPUT", "differs by 0.5")),
        ]
        _keep(store, *written)
        store.write(AddWorkloads((KNOWN,))).result()
        exported = await _export(schedules)
        assert {item.record.record_id for item in exported} - {""} == {item.record_id for item in written}

        back = await _import(schedules, exported[:100], exported[100:], exported[:7])
        assert _added(*back) == (0, len(written) + 5)
        assert store.records(RecordFilter(), limit=1000)[0].source is Source.TUNED

        with Store.open(f"sqlite:///{tmp_path}/other.db") as other, ScheduleFarm(other) as farm:
            async with grpc.aio.insecure_channel(farm.address) as channel:
                answers = await _import(Stub(channel), exported)
            assert _added(*answers) == (len(written), 0)
            assert (answers[0].workloads_added, answers[0].devices_added, list(answers[0].refused)) == (1, 1, [])
            taken = other.records(RecordFilter(), limit=10_000)
            assert {item.record_id for item in taken} == {item.record_id for item in written}
            assert {item.source for item in taken} == {Source.IMPORTED}
            assert set(other.traces_of(taken).values()) == {TRACE}
            assert other.workloads([WORKLOAD]) == {WORKLOAD: KNOWN}
            assert other.best(WORKLOAD, X86, ZEN_CLASS) == (other.history(WORKLOAD, X86, ZEN_CLASS, 1)[0], False)

    async def test_workload_and_device_come_once_and_before_the_records_that_need_them(
        self, store: Store, schedules: Stub
    ) -> None:
        names = [f"5-w{number}" for number in range(40)]
        written = [
            record(f"c{number}", workload=name, device="pi" if number % 2 else "zen-a", created=at)
            for at in (1.0, 2.0, 3.0, 4.0)
            for number in range(8)
            for name in names
        ]
        _keep(store, *written)
        store.write(AddWorkloads(tuple(replace(KNOWN, workload=name) for name in names[1:]))).result()
        told: set[str] = set()
        for item in await _export(schedules):
            match item.WhichOneof("item"):
                case "workload":
                    assert item.workload.workload not in told
                    told.add(item.workload.workload)
                case "device":
                    assert item.device.fingerprint not in told
                    told.add(item.device.fingerprint)
                case "record":
                    assert item.record.device_fingerprint in told
                    assert item.record.workload in told or item.record.workload == names[0]
        assert told == {*names[1:], "pi", "zen-a"}

    async def test_an_export_is_of_what_was_asked_for(self, store: Store, schedules: Stub) -> None:
        here, there = record("c1"), record("c1", target=ARM, device="pi", project="audio", workload="p1:dense")
        _keep(store, here, there)
        for wanted in (
            {"workload": WORKLOAD},
            {"target": X86},
            {"device_class": ZEN_CLASS},
            {"project": "vision"},
        ):
            assert await _exported_ids(schedules, **wanted) == [here.record_id]
        assert await _export(schedules, target=X86, device_class=PI_CLASS) == []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _export(schedules, target="llvm")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_an_imported_record_is_a_contender_at_most(self, store: Store, schedules: Stub) -> None:
        await _import(schedules, [_item(record("c1", 1e-9))])
        store.write(AddVerifications((verification("c1"),))).result()
        assert not (await schedules.QueryBest(_query())).verified

    async def test_records_of_two_architectures_keep_to_their_own_class(
        self, tmp_path: Path, store: Store, schedules: Stub
    ) -> None:
        """One workload, one candidate, two stores: neither class sees the other's times, however fast."""
        ours, fast = record("c1", 2e-3), record("c1", 1e-6, target=ARM, device="pi")
        odd = record("c2", 1e-9, target=X86, device="pi")  # even under the same target
        _keep(store, ours)
        store.write(AddVerifications((verification("c1"),))).result()
        with Store.open(f"sqlite:///{tmp_path}/other.db") as other, ScheduleFarm(other) as farm:
            other.write(DEVICES).result()
            _keep(other, fast, odd)
            async with grpc.aio.insecure_channel(farm.address) as channel:
                await _import(schedules, await _export(Stub(channel)))
        assert store.best(WORKLOAD, X86, ZEN_CLASS) == (ours, True)
        assert store.incumbents([WORKLOAD], X86, ZEN_CLASS) == {WORKLOAD: (ours, True)}
        imported = {item.record_id: item for item in store.records(RecordFilter())}
        assert store.incumbents([WORKLOAD], ARM, PI_CLASS) == {WORKLOAD: (imported[fast.record_id], False)}
        assert store.best(WORKLOAD, X86, PI_CLASS) == (imported[odd.record_id], False)

    async def test_conflicting_times_are_kept_apart(self, store: Store, schedules: Stub) -> None:
        claims = [record("c1", seconds) for seconds in (1e-3, 2e-3, 5e-6)]
        (answer,) = await _import(schedules, [_item(claim) for claim in claims])
        assert _added(answer) == (3, 0)
        assert sorted(item.seconds or 0.0 for item in store.records(RecordFilter())) == [5e-6, 1e-3, 2e-3]

    @pytest.mark.parametrize(
        ("spoil", "kind", "reason"),
        [
            (lambda message: message.ClearField("workload"), "MALFORMED", "workload is empty"),
            (lambda message: message.ClearField("candidate_id"), "MALFORMED", "candidate is empty"),
            (lambda message: message.ClearField("device_fingerprint"), "MALFORMED", "device is empty"),
            (lambda message: message.ClearField("created"), "MALFORMED", "created is missing"),
            (lambda message: setattr(message.created, "seconds", -(1 << 62)), "MALFORMED", "between the years"),
            (lambda message: setattr(message.created, "seconds", 253_402_300_799), "MALFORMED", "between the years"),
            (lambda message: setattr(message.created, "nanos", -1), "MALFORMED", "between the years"),
            (lambda message: message.ClearField("seconds"), "MALFORMED", "exactly one"),
            (lambda message: setattr(message, "at_least_seconds", 1.0), "MALFORMED", "exactly one"),
            (lambda message: message.seconds.append(1e10), "SENTINEL_TIME", "is not between"),
            (lambda message: message.seconds.append(float("inf")), "SENTINEL_TIME", "is not between"),
            (lambda message: message.seconds.append(3600.0), "SENTINEL_TIME", "is not between"),
            (lambda message: message.seconds.append(float("nan")), "MALFORMED", "is not between"),
            (lambda message: message.seconds.append(-1.0), "MALFORMED", "is not between"),
            (lambda message: message.seconds.append(2e-3), "CHANGED", "digest"),
            (lambda message: setattr(message, "project", "another"), "CHANGED", "digest"),
            (lambda message: setattr(message, "target", "llvm"), "MALFORMED", "not JSON"),
            (lambda message: setattr(message, "target", "[" * 100_000), "MALFORMED", "not JSON"),
            (lambda message: setattr(message, "target", f'{{"a":{"1" * 5000}}}'), "MALFORMED", "not JSON"),
            (lambda message: setattr(message, "trace", "Trace()"), "MALFORMED", "trace is not JSON"),
            (lambda message: setattr(message, "trace", ""), "MALFORMED", "trace is not JSON"),
            (lambda message: setattr(message, "trace", "[" * 100_000), "MALFORMED", "trace is not JSON"),
            (lambda message: setattr(message, "workload", "w" * 501), "MALFORMED", "longer than 500 bytes"),
            (lambda message: _fail(message, common_pb2.FAILURE_KIND_DEVICE_LOST), "MALFORMED", "DEVICE_LOST"),
            (lambda message: _fail(message, 77), "MALFORMED", "77"),
        ],
    )
    async def test_one_bad_record_is_set_aside_and_its_neighbours_are_written(
        self,
        store: Store,
        schedules: Stub,
        spoil: Callable[[schedule_pb2.ScheduleRecord], None],
        kind: str,
        reason: str,
    ) -> None:
        first, bad, last = _item(record("c1")), _item(record("c2")), _item(record("c3"))
        spoil(bad.record)
        answers = await _import(schedules, [first], [first, bad, last])
        assert _added(*answers) == (2, 1)
        (refused,) = answers[1].refused
        assert (refused.line, schedule_pb2.RefusalKind.Name(refused.kind)) == (3, f"REFUSAL_KIND_{kind}")
        assert reason in refused.reason
        assert {item.identity for item in store.records(RecordFilter())} == {"c1", "c3"}

    async def test_other_items_are_checked_as_well(self, store: Store, schedules: Stub) -> None:
        facts = {"cpu": "Zen 5"}
        items = [
            schedule_pb2.ScheduleItem(),
            schedule_pb2.ScheduleItem(device=schedule_pb2.ScheduleDevice(fingerprint="d")),
            schedule_pb2.ScheduleItem(device=schedule_pb2.ScheduleDevice(fingerprint="sha256:0", facts=facts)),
            schedule_pb2.ScheduleItem(device=schedule_pb2.ScheduleDevice(fingerprint="pi", facts=facts)),
            _item(record("c1", device="pi")),
            _item(record("c2")),
            workload_item(replace(KNOWN, module="[]")),
            workload_item(replace(KNOWN, flops=float("nan"))),
            workload_item(replace(KNOWN, workload="")),
            _item(new_record_with_nul()),
            workload_item(KNOWN),
        ]
        (answer,) = await _import(schedules, items)
        told = {item.line: (schedule_pb2.RefusalKind.Name(item.kind)[13:], item.reason) for item in answer.refused}
        assert {line: kind for line, (kind, _) in told.items()} == {
            1: "UNKNOWN_ITEM",
            2: "MALFORMED",
            3: "CHANGED",
            4: "CONFLICT",
            5: "CONFLICT",
            7: "MALFORMED",
            8: "MALFORMED",
            9: "MALFORMED",
            10: "MALFORMED",
        }
        assert "stands for other facts" in told[4][1]
        assert "NUL" in told[10][1]
        assert (_added(answer), answer.workloads_added, answer.devices_added) == ((1, 0), 1, 0)
        assert store.device_facts("pi") == DEVICES.devices[2].facts
        # its next batch knows as well which devices are others here
        answers = await _import(schedules, items[3:4], items[4:6])
        assert [item.line for answer in answers for item in answer.refused] == [1, 2]

    async def test_a_workload_under_other_names_is_no_error_and_our_own_stays(
        self, store: Store, schedules: Stub
    ) -> None:
        ours = replace(KNOWN, name="ours", module='{"our": "names"}', created=2e9)
        older = replace(KNOWN, name="older", module='{"names": "differ"}', created=1.0)
        for order in ([KNOWN, older], [older, KNOWN]):
            (answer,) = await _import(schedules, [workload_item(known) for known in order])
            assert list(answer.refused) == []
            assert store.workloads([WORKLOAD]) == {WORKLOAD: older}
        for first in (ours, replace(ours, name="later")):
            store.write(AddWorkloads((first,))).result()
        (answer,) = await _import(schedules, [workload_item(older)])
        assert (answer.workloads_added, list(answer.refused)) == (0, [])
        assert store.workloads([WORKLOAD]) == {WORKLOAD: ours}

    async def test_our_own_trace_of_a_candidate_stays_and_the_claim_is_kept(
        self, store: Store, schedules: Stub
    ) -> None:
        """Two traces may end in one program, which is what names a candidate."""
        _keep(store, record("c1"))
        (answer,) = await _import(schedules, [_item(record("c1", 2e-3), '["else"]'), _item(record("c2"), '["else"]')])
        assert (_added(answer), list(answer.refused)) == ((2, 0), [])
        assert store.traces(WORKLOAD, ["c1", "c2"]) == {"c1": TRACE, "c2": '["else"]'}

    async def test_an_answer_comes_when_its_batch_is_durable(self, store: Store, schedules: Stub) -> None:
        call = schedules.ImportSchedules()
        for number in range(3):
            items = [schedule_pb2.NumberedItem(line=number, item=_item(record(f"c{number}")))]
            await call.write(schedule_pb2.ImportSchedulesRequest(items=items))
            assert (await call.read()).records_added == 1
            assert len(store.records(RecordFilter())) == number + 1
        call.cancel()

    async def test_stats_count_what_is_there(self, store: Store, schedules: Stub) -> None:
        assert (await schedules.GetScheduleStats(schedule_pb2.GetScheduleStatsRequest())).records == 0
        _keep(
            store,
            record("c1"),
            record("c1", 2e-3, created=500.0),
            record("c2", outcome=Censored(1.0), workload="p1:dense"),
            record("c3", outcome=Failed("RUN_ERROR", "x")),
            record("c4", outcome=Failed("RUN_TIMEOUT", '{"failed":"BUILD_ERROR"')),
        )
        await _import(schedules, [_item(record("c1", target=ARM, device="pi")), _item(record("c9", device="gone"))])
        stats = await schedules.GetScheduleStats(schedule_pb2.GetScheduleStatsRequest())
        assert (stats.records, stats.valid, stats.censored, stats.imported) == (7, 4, 1, 2)
        assert dict(stats.failed) == {"RUN_ERROR": 1, "RUN_TIMEOUT": 1}
        assert (stats.candidates, stats.workloads) == (5, 2)
        assert (unix_seconds(stats.oldest), unix_seconds(stats.newest)) == (400.0, 500.0)
        counts = {(scope.target, scope.device_class): (scope.records, scope.valid) for scope in stats.scopes}
        assert counts == {(ARM, PI_CLASS): (1, 1), (X86, ""): (1, 1), (X86, ZEN_CLASS): (5, 2)}

    async def test_stats_say_which_versions_of_the_preparation_there_are(self, store: Store, schedules: Stub) -> None:
        """A client names a workload by them and the kernel's hash."""
        _keep(
            store,
            record("c1", workload="9-ab", created=400.0),
            record("c1", workload="10-ab", created=500.0),
            record("c1", workload="9-cd", created=300.0),
            record("c1", workload="without"),
        )
        stats = await schedules.GetScheduleStats(schedule_pb2.GetScheduleStatsRequest())
        assert list(stats.pipeline_versions) == ["10", "9"]


def new_record_with_nul() -> Record:
    return new_record(
        workload=WORKLOAD,
        target=X86,
        identity="c7",
        device_fingerprint="zen-a",
        outcome=Measured((1e-3,)),
        created=1.0,
        task_name="nul \x00",
    )


def _fail(message: schedule_pb2.ScheduleRecord, kind: int) -> None:
    message.ClearField("seconds")
    message.failure.kind = kind  # type: ignore[assignment]


@given(st.floats(min_value=0.0, max_value=4e9))
def test_a_time_survives_the_wire(unix: float) -> None:
    # below 2**23 s (April 1970) a double is finer than a nanosecond
    assert unix_seconds(timestamp(unix)) == pytest.approx(unix, abs=1e-9, rel=0)
    assert unix < 2**23 or unix_seconds(timestamp(unix)) == unix


@pytest.mark.parametrize("outcome", [None, Censored(0.25), Failed("RUN_TIMEOUT", "3 s")])
def test_a_record_keeps_its_name_on_the_wire(outcome: Outcome | None) -> None:
    sent = record("c1", outcome=outcome, created=1763862000.123456)
    wire = schedule_pb2.ScheduleRecord.FromString(record_message(sent, TRACE).SerializeToString())
    assert record_of(wire).record_id == sent.record_id


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["{}", "[]", '{"kind": "llvm"}', X86]
)


@st.composite
def _any_items(draw: st.DrawFn) -> schedule_pb2.ScheduleItem:
    record_like = schedule_pb2.ScheduleRecord(
        workload=draw(TEXTS),
        target=draw(TEXTS),
        trace=draw(TEXTS),
        candidate_id=draw(TEXTS),
        device_fingerprint=draw(TEXTS),
        seconds=draw(st.lists(st.floats(), max_size=2)),
        task_name=draw(TEXTS),
    )
    record_like.created.seconds = draw(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**32))
    record_like.created.nanos = draw(st.integers(-(2**31), 2**31 - 1) | st.just(0))
    workload = schedule_pb2.ScheduleWorkload(
        workload=draw(TEXTS),
        name=draw(TEXTS),
        module=draw(TEXTS),
        flops=draw(st.floats()),
        created=record_like.created,
        kind=draw(TEXTS | st.just("k" * 2001)),
        shapes=[common_pb2.Shape(dims=draw(st.lists(st.integers(-(2**63), 2**63 - 1))))],
    )
    facts = draw(st.dictionaries(TEXTS, TEXTS, max_size=2))
    device = schedule_pb2.ScheduleDevice(fingerprint=draw(TEXTS | st.just("sha256:")), facts=facts)
    content: dict[str, Any] = {"record": record_like, "workload": workload, "device": device}
    kind = draw(st.sampled_from(sorted(content)))
    return schedule_pb2.ScheduleItem(**{kind: content[kind]})


@given(_any_items())
def test_what_comes_in_is_refused_in_words_or_can_be_given_again(item: schedule_pb2.ScheduleItem) -> None:
    try:
        offer = offer_of(item)
    except InvalidInput:
        return
    match offer:
        case KnownWorkload():
            again = workload_item(offer)
        case DeviceFacts():
            again = device_item(offer)
        case _:
            again = schedule_pb2.ScheduleItem(record=record_message(offer.record, offer.trace))
    assert offer_of(schedule_pb2.ScheduleItem.FromString(again.SerializeToString())) == offer
