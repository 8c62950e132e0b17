"""ScheduleService: the schedule store over gRPC. Errors are raised as they are; the interceptor maps them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import grpc

from tunefarm_coordinator.errors import InvalidInput, NotFound
from tunefarm_coordinator.schedules.changes import CandidateTrace
from tunefarm_coordinator.schedules.record import Record
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.found import FoundModels
from tunefarm_coordinator.service.records import record_message, record_of
from tunefarm_proto.v1 import schedule_pb2, schedule_pb2_grpc

_PAGE = 200
# An import is one transaction, held in memory until its last record has come.
LARGEST_IMPORT_RECORDS = 100_000
LARGEST_IMPORT_BYTES = 256 << 20

_Import = list[tuple[Record, CandidateTrace]]


class ScheduleService(schedule_pb2_grpc.ScheduleServiceServicer):
    """The schedules of one store. Every read runs in a thread."""

    def __init__(self, store: Store, models: FoundModels) -> None:
        self._store = store
        self._models = models

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

    async def FindSchedules(
        self, request: schedule_pb2.FindSchedulesRequest, _: grpc.aio.ServicerContext
    ) -> schedule_pb2.FoundSchedules:
        return await self._models.find(request)

    async def CompileModel(
        self, request: schedule_pb2.CompileModelRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[schedule_pb2.CompiledModel]:
        async for part in self._models.compile(request):
            yield part

    def _messages(self, records: Sequence[Record]) -> list[schedule_pb2.ScheduleRecord]:
        traces = self._store.traces_of(records)
        return [record_message(record, traces.get((record.workload, record.identity), "")) for record in records]


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
