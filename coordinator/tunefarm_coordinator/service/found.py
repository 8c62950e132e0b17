"""What the store has for a model, on the wire, and the package that is compiled of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from tunefarm_coordinator.control.compiling import Compiler
from tunefarm_coordinator.control.lookup import Found, KnownSchedule, KnownTask, Lookup
from tunefarm_coordinator.errors import NotFound
from tunefarm_coordinator.schedules.record import Source
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.packages import package_chunks
from tunefarm_coordinator.service.schedule_messages import record_message
from tunefarm_proto.v1 import schedule_pb2

MOST_SCHEDULES = 1000

# Trace by (workload, identity).
Traces = Mapping[tuple[str, str], str]


class FoundModels:
    """The part of ScheduleService that is about models."""

    def __init__(self, store: Store, lookup: Lookup, compiler: Compiler) -> None:
        self._store = store
        self._lookup = lookup
        self._compiler = compiler

    async def find(self, request: schedule_pb2.FindSchedulesRequest) -> schedule_pb2.FoundSchedules:
        """See schedule.proto."""
        top = min(request.top or 1, MOST_SCHEDULES)
        found = await self._lookup.find(request.spec, request.device_class, top)
        return await asyncio.to_thread(self._message, found, _wanted(found, request.task))

    async def compile(self, request: schedule_pb2.CompileModelRequest) -> AsyncIterator[schedule_pb2.CompiledModel]:
        """See schedule.proto."""
        found = await self._lookup.find(request.spec, request.device_class)
        yield schedule_pb2.CompiledModel(found=await asyncio.to_thread(self._message, found, found.tasks))
        async with self._compiler.compiled(found, verified_only=request.verified_only) as folder:
            async for chunk in package_chunks(folder):
                yield schedule_pb2.CompiledModel(chunk=chunk)

    def _message(self, found: Found, tasks: tuple[KnownTask, ...]) -> schedule_pb2.FoundSchedules:
        traces = self._store.traces_of([known.record for task in tasks for known in task.schedules])
        return schedule_pb2.FoundSchedules(
            target=found.summary.target,
            device_class=found.device_class,
            pipeline_version=found.summary.pipeline_version,
            tasks=[_task(task, traces) for task in tasks],
            notes=found.summary.notes,
        )


def _wanted(found: Found, name: str) -> tuple[KnownTask, ...]:
    tasks = tuple(known for known in found.tasks if name in ("", known.task.name, known.task.workload))
    if not tasks and name:
        names = ", ".join(known.task.name for known in found.tasks)
        raise NotFound(f"the model has no kernel {name!r} that is tuned; it has {names or 'none at all'}")
    return tasks


def _task(known: KnownTask, traces: Traces) -> schedule_pb2.FoundTask:
    return schedule_pb2.FoundTask(
        workload=known.task.workload,
        name=known.task.name,
        weight=known.task.weight,
        flops=known.task.flops,
        nodes=known.task.nodes,
        records=known.records,
        default_seconds=known.default_seconds,
        schedules=[_schedule(schedule, traces) for schedule in known.schedules],
    )


def _schedule(known: KnownSchedule, traces: Traces) -> schedule_pb2.FoundSchedule:
    record = known.record
    return schedule_pb2.FoundSchedule(
        record=record_message(record, traces.get((record.workload, record.identity), "")),
        verified=known.verified,
        default_schedule=record.source is Source.BASELINE,
    )
