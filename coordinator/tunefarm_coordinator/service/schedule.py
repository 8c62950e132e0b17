"""ScheduleService: the schedule store over gRPC. Errors are raised as they are; the interceptor maps them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import grpc

from tunefarm_coordinator.errors import InvalidInput, NotFound
from tunefarm_coordinator.schedules.record import Record, printable
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.databases import Databases
from tunefarm_coordinator.service.exchange import Intake, exported
from tunefarm_coordinator.service.found import FoundModels
from tunefarm_coordinator.service.pruning import pruned
from tunefarm_coordinator.service.schedule_messages import (
    facts_of,
    pruning_of,
    record_message,
    retracted_message,
    stats_message,
)
from tunefarm_proto.v1 import schedule_pb2, schedule_pb2_grpc


class ScheduleService(schedule_pb2_grpc.ScheduleServiceServicer):
    """The schedules of one store. Every read runs in a thread."""

    def __init__(self, store: Store, models: FoundModels, databases: Databases) -> None:
        self._store = store
        self._models = models
        self._databases = databases

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

    async def ImportSchedules(
        self, requests: AsyncIterator[schedule_pb2.ImportSchedulesRequest], _: grpc.aio.ServicerContext
    ) -> AsyncIterator[schedule_pb2.ImportSchedulesResponse]:
        async with contextlib.aclosing(Intake(self._store).take(requests)) as answers:
            async for answer in answers:
                yield answer

    async def ExportSchedules(
        self, request: schedule_pb2.ExportSchedulesRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[schedule_pb2.ExportSchedulesResponse]:
        async for response in exported(self._store, request):
            yield response

    async def GetScheduleStats(
        self, _request: schedule_pb2.GetScheduleStatsRequest, _: grpc.aio.ServicerContext
    ) -> schedule_pb2.ScheduleStats:
        return stats_message(await asyncio.to_thread(self._store.stats))

    async def FindSchedules(
        self, request: schedule_pb2.FindSchedulesRequest, _: grpc.aio.ServicerContext
    ) -> schedule_pb2.FoundSchedules:
        return await self._models.find(request)

    async def CompileModel(
        self, request: schedule_pb2.CompileModelRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[schedule_pb2.CompiledModel]:
        async for part in self._models.compile(request):
            yield part

    async def ImportMetaSchedule(
        self, requests: AsyncIterator[schedule_pb2.ImportMetaScheduleRequest], _: grpc.aio.ServicerContext
    ) -> AsyncIterator[schedule_pb2.ImportMetaScheduleResponse]:
        async for response in self._databases.take(requests):
            yield response

    async def ExportMetaSchedule(
        self, request: schedule_pb2.ExportSchedulesRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[schedule_pb2.ExportedMetaSchedule]:
        async for response in self._databases.give(request):
            yield response

    async def RetractSchedules(
        self, request: schedule_pb2.RetractSchedulesRequest, _: grpc.aio.ServicerContext
    ) -> schedule_pb2.RetractedSchedules:
        facts = facts_of(request)
        if request.dry_run:
            return retracted_message(await asyncio.to_thread(self._store.would_retract, facts))
        reason = printable(request.reason)
        return retracted_message(await asyncio.wrap_future(self._store.retract(facts, reason, time.time())))

    async def PruneSchedules(
        self, request: schedule_pb2.PruneSchedulesRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[schedule_pb2.PrunedSchedules]:
        async for so_far in pruned(self._store, pruning_of(request), dry_run=request.dry_run):
            yield so_far

    def _messages(self, records: Sequence[Record]) -> list[schedule_pb2.ScheduleRecord]:
        traces = self._store.traces_of(records)
        return [record_message(record, traces.get((record.workload, record.identity), "")) for record in records]
