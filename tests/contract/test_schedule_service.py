"""ScheduleService over a real server and channel."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from tunefarm_coordinator.schedules.changes import AddCandidates, AddRecords, AddVerifications, CandidateTrace
from tunefarm_coordinator.schedules.record import Censored, Failed, Outcome, Record, Source
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.records import record_message, record_of, timestamp, unix_seconds
from tunefarm_coordinator.service.schedule import ScheduleService
from tunefarm_proto.v1 import common_pb2, schedule_pb2, schedule_pb2_grpc

TRACE = '["trace"]'
Messages = Sequence[schedule_pb2.ScheduleRecord]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        opened.write(DEVICES).result()
        yield opened


@pytest.fixture
async def schedules(store: Store) -> AsyncIterator[schedule_pb2_grpc.ScheduleServiceStub]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(ScheduleService(store), server)
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


async def _export(schedules: schedule_pb2_grpc.ScheduleServiceStub, **wanted: str) -> list[schedule_pb2.ScheduleRecord]:
    return [message async for message in schedules.ExportRecords(schedule_pb2.ExportRecordsRequest(**wanted))]


async def _import(
    schedules: schedule_pb2_grpc.ScheduleServiceStub, *batches: Messages
) -> schedule_pb2.ImportRecordsResponse:
    requests = [schedule_pb2.ImportRecordsRequest(records=batch) for batch in batches]
    answer: schedule_pb2.ImportRecordsResponse = await schedules.ImportRecords(iter(requests))
    return answer


class TestQueryBest:
    async def test_it_tells_contender_from_best(
        self, store: Store, schedules: schedule_pb2_grpc.ScheduleServiceStub
    ) -> None:
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
        schedules: schedule_pb2_grpc.ScheduleServiceStub,
        other: schedule_pb2.QueryBestRequest,
    ) -> None:
        _keep(store, record())
        with pytest.raises(grpc.aio.AioRpcError, match="no valid record") as caught:
            await schedules.QueryBest(other)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize("bad", [_query(workload=""), _query(target=""), _query(target="llvm"), _query(name="")])
    async def test_a_query_without_a_scope_is_refused(
        self, schedules: schedule_pb2_grpc.ScheduleServiceStub, bad: schedule_pb2.QueryBestRequest
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await schedules.QueryBest(bad)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class TestExportAndImport:
    async def test_what_one_farm_exports_another_takes_once(
        self, tmp_path: Path, store: Store, schedules: schedule_pb2_grpc.ScheduleServiceStub
    ) -> None:
        written = [
            *(record(f"c{number}", 1e-3 + number * 1e-6, created=1.7e9 + number / 7) for number in range(450)),
            record("slow", outcome=Censored(0.5)),
            record("bad", outcome=Failed("WRONG_OUTPUT", "differs by 0.5")),
        ]
        _keep(store, *written)
        exported = await _export(schedules)
        assert {message.record_id for message in exported} == {item.record_id for item in written}

        back = await _import(schedules, exported[:100], exported[100:], exported[:7])
        assert (back.added, back.known) == (0, len(written) + 7)
        assert store.records(RecordFilter(), limit=1000)[0].source is Source.TUNED

        with Store.open(f"sqlite:///{tmp_path}/other.db") as other:
            servicer = ScheduleService(other)
            answer = await servicer.ImportRecords(_stream(exported), None)
            assert (answer.added, answer.known) == (len(written), 0)
            taken = other.records(RecordFilter(), limit=1000)
            assert {item.record_id for item in taken} == {item.record_id for item in written}
            assert {item.source for item in taken} == {Source.IMPORTED}
            assert set(other.traces_of(taken).values()) == {TRACE}

    async def test_an_export_is_of_what_was_asked_for(
        self, store: Store, schedules: schedule_pb2_grpc.ScheduleServiceStub
    ) -> None:
        here, there = record("c1"), record("c1", target=ARM, device="pi", project="audio", workload="p1:dense")
        _keep(store, here, there)
        for wanted in (
            {"workload": WORKLOAD},
            {"target": X86},
            {"device_class": ZEN_CLASS},
            {"project": "vision"},
        ):
            assert [message.record_id for message in await _export(schedules, **wanted)] == [here.record_id]
        assert await _export(schedules, target=X86, device_class=PI_CLASS) == []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _export(schedules, target="llvm")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_an_imported_record_is_a_contender_at_most(
        self, store: Store, schedules: schedule_pb2_grpc.ScheduleServiceStub
    ) -> None:
        await _import(schedules, [record_message(record("c1", 1e-9), TRACE)])
        store.write(AddVerifications((verification("c1"),))).result()
        assert not (await schedules.QueryBest(_query())).verified

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda message: message.ClearField("workload"), "workload is empty"),
            (lambda message: message.ClearField("candidate_id"), "candidate is empty"),
            (lambda message: message.ClearField("device_fingerprint"), "fingerprint is empty"),
            (lambda message: message.ClearField("created"), "created is missing"),
            (lambda message: message.ClearField("seconds"), "exactly one"),
            (lambda message: setattr(message, "at_least_seconds", 1.0), "exactly one"),
            (lambda message: message.seconds.append(1e10), "is not between"),
            (lambda message: message.seconds.append(2e-3), "digest"),
            (lambda message: setattr(message, "target", "llvm"), "not JSON"),
            (lambda message: setattr(message, "trace", "Trace()"), "trace is not JSON"),
            (lambda message: setattr(message, "trace", ""), "trace is not JSON"),
            (lambda message: _fail(message, common_pb2.FAILURE_KIND_DEVICE_LOST), "DEVICE_LOST"),
            (lambda message: _fail(message, 77), "77"),
        ],
    )
    async def test_one_bad_record_is_named_and_nothing_is_written(
        self,
        store: Store,
        schedules: schedule_pb2_grpc.ScheduleServiceStub,
        spoil: Callable[[schedule_pb2.ScheduleRecord], None],
        reason: str,
    ) -> None:
        good, bad = record_message(record("c1"), TRACE), record_message(record("c2"), TRACE)
        spoil(bad)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _import(schedules, [good], [good, bad])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason in str(caught.value.details())
        assert f"record 3 ({record('c2').record_id})" in str(caught.value.details())
        assert store.records(RecordFilter()) == []

    async def test_a_trace_under_a_known_name_is_not_replaced(
        self, store: Store, schedules: schedule_pb2_grpc.ScheduleServiceStub
    ) -> None:
        _keep(store, record("c1"))
        with pytest.raises(grpc.aio.AioRpcError, match="another trace"):
            await _import(schedules, [record_message(record("c1", 2e-3), '["else"]')])
        assert store.records(RecordFilter()) == [record("c1")]
        assert store.traces(WORKLOAD, ["c1"]) == {"c1": TRACE}


async def _stream(messages: Messages) -> AsyncIterator[schedule_pb2.ImportRecordsRequest]:
    yield schedule_pb2.ImportRecordsRequest(records=messages)


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
