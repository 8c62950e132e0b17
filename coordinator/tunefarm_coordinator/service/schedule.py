"""ScheduleService: the schedule store over gRPC. Errors are raised as they are; the interceptor maps them."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from tunefarm_coordinator.errors import InvalidInput, NotFound
from tunefarm_coordinator.schedules.changes import CandidateTrace
from tunefarm_coordinator.schedules.record import (
    Censored,
    Failed,
    Measured,
    Outcome,
    Record,
    Source,
    new_record,
)
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store
from tunefarm_proto.v1 import common_pb2, schedule_pb2, schedule_pb2_grpc

_PAGE = 200
_FAILURE_PREFIX = "FAILURE_KIND_"
# An import is one transaction, held in memory until its last record has come.
LARGEST_IMPORT_RECORDS = 100_000
LARGEST_IMPORT_BYTES = 256 << 20

_Import = list[tuple[Record, CandidateTrace]]


class ScheduleService(schedule_pb2_grpc.ScheduleServiceServicer):
    """The schedules of one store. Every read runs in a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def QueryBest(
        self, request: schedule_pb2.QueryBestRequest, _: grpc.aio.ServicerContext
    ) -> schedule_pb2.QueryBestResponse:
        for name in ("workload", "target", "device_class"):
            if not getattr(request, name):
                raise InvalidInput(f"{name} is empty; a schedule is best for one workload, target and device class")
        scope = (request.workload, request.target, request.device_class)
        found = await asyncio.to_thread(self._store.best, *scope)
        if found is None:
            raise NotFound("no valid record of workload {} for target {} on device class {}".format(*scope))
        record, verified = found
        (message,) = await asyncio.to_thread(self._messages, [record])
        return schedule_pb2.QueryBestResponse(record=message, verified=verified)

    async def ImportRecords(
        self, requests: AsyncIterator[schedule_pb2.ImportRecordsRequest], _: grpc.aio.ServicerContext
    ) -> schedule_pb2.ImportRecordsResponse:
        taken: _Import = []
        size = 0
        async for request in requests:
            size += request.ByteSize()
            taken += await asyncio.to_thread(_records_of, request, len(taken))
            if len(taken) > LARGEST_IMPORT_RECORDS or size > LARGEST_IMPORT_BYTES:
                raise InvalidInput(
                    f"one import takes {LARGEST_IMPORT_RECORDS} records and {LARGEST_IMPORT_BYTES >> 20} MiB"
                    f" at most; nothing was written: send them in several"
                )
        merge = self._store.merge([trace for _, trace in taken], [record for record, _ in taken])
        merged = await asyncio.wrap_future(merge)
        return schedule_pb2.ImportRecordsResponse(added=merged.added, known=merged.known)

    async def ExportRecords(
        self, request: schedule_pb2.ExportRecordsRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[schedule_pb2.ScheduleRecord]:
        wanted = RecordFilter(
            workload=request.workload,
            target=request.target,
            device_class=request.device_class,
            project=request.project,
        )
        after = ""
        while page := await asyncio.to_thread(self._store.records, wanted, after=after, limit=_PAGE):
            for message in await asyncio.to_thread(self._messages, page):
                yield message
            after = page[-1].record_id

    def _messages(self, records: Sequence[Record]) -> list[schedule_pb2.ScheduleRecord]:
        traces = self._store.traces_of(records)
        return [record_message(record, traces.get((record.workload, record.identity), "")) for record in records]


def record_message(record: Record, trace: str) -> schedule_pb2.ScheduleRecord:
    """A record as it travels. `source` and `conditions` stay here."""
    message = schedule_pb2.ScheduleRecord(
        record_id=record.record_id,
        workload=record.workload,
        target=record.target,
        trace=trace,
        candidate_id=record.identity,
        device_fingerprint=record.device_fingerprint,
        created=timestamp(record.created),
        project=record.project,
        job_id=record.job_id,
        task_name=record.task_name,
    )
    if isinstance(record.outcome, Measured):
        message.seconds.extend(record.outcome.samples)
    elif isinstance(record.outcome, Censored):
        message.at_least_seconds = record.outcome.at_least_seconds
    else:
        kind = _FAILURE_PREFIX + record.outcome.kind
        message.failure.CopyFrom(common_pb2.Failure(kind=kind, message=record.outcome.message))
    return message


def record_of(message: schedule_pb2.ScheduleRecord) -> Record:
    """The record that a message stands for, as an imported one. Raises InvalidInput."""
    if not message.HasField("created"):
        raise InvalidInput("created is missing")
    record = new_record(
        workload=message.workload,
        target=message.target,
        identity=message.candidate_id,
        device_fingerprint=message.device_fingerprint,
        outcome=_outcome_of(message),
        created=unix_seconds(message.created),
        project=message.project,
        job_id=message.job_id,
        task_name=message.task_name,
        source=Source.IMPORTED,
    )
    if message.record_id not in ("", record.record_id):
        raise InvalidInput(f"its content has the digest {record.record_id}: it was changed on its way")
    return record


def timestamp(unix: float) -> Timestamp:
    """Unix seconds as a proto timestamp. Nanoseconds are finer than a double here: nothing is lost."""
    whole = math.floor(unix)
    stamp = Timestamp()
    stamp.FromNanoseconds(whole * 10**9 + round((unix - whole) * 1e9))
    return stamp


def unix_seconds(stamp: Timestamp) -> float:
    """The time that `timestamp` was given."""
    return float(stamp.seconds + stamp.nanos / 1e9)


def _records_of(request: schedule_pb2.ImportRecordsRequest, before: int) -> _Import:
    taken: _Import = []
    for number, message in enumerate(request.records, before + 1):
        try:
            record = record_of(message)
            json.loads(message.trace)
        except (InvalidInput, json.JSONDecodeError) as error:
            what = error if isinstance(error, InvalidInput) else f"its trace is not JSON ({error})"
            name = message.record_id or "without an id"
            raise InvalidInput(f"record {number} ({name}) can't be taken: {what}; nothing was written") from error
        taken.append((record, CandidateTrace(record.workload, record.identity, message.trace)))
    return taken


def _outcome_of(message: schedule_pb2.ScheduleRecord) -> Outcome:
    outcomes: list[Outcome] = []
    if message.seconds:
        outcomes.append(Measured(tuple(message.seconds)))
    if message.HasField("at_least_seconds"):
        outcomes.append(Censored(message.at_least_seconds))
    if message.HasField("failure"):
        outcomes.append(Failed(_failure_kind(message.failure.kind), message.failure.message))
    if len(outcomes) != 1:
        raise InvalidInput("it needs exactly one of seconds, at_least_seconds and failure")
    return outcomes[0]


def _failure_kind(kind: common_pb2.FailureKind) -> str:
    try:
        return str(common_pb2.FailureKind.Name(kind)).removeprefix(_FAILURE_PREFIX)
    except ValueError:
        return str(kind)  # of a newer program; new_record names it as not known
