"""Carries out the device side of a job: leases out, outcomes to the journal and the schedule store."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tunefarm_coordinator.control import leases
from tunefarm_coordinator.control.farm import OnSuspected
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.errors import NoDevice
from tunefarm_coordinator.farm.messages import Deliver, ItemLost, Suspected, Unserved, Work, WorkKind
from tunefarm_coordinator.fault_points import FaultPoint
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.schedules import record as rec
from tunefarm_coordinator.schedules.changes import (
    AddComparison,
    AddDevices,
    AddRecords,
    AddVerifications,
    Change,
    DeviceFacts,
)
from tunefarm_proto.v1 import farm_pb2

# Set-up of a session and loading of its artifacts, beside what the candidates themselves take.
LEASE_SLACK_SECONDS = 60.0
_HALF_IN = {WorkKind.MEASURE: FaultPoint.MID_LEASE, WorkKind.COMPARE: FaultPoint.DURING_FINALS}


class MeasuringStage:
    """One job's measurements. Work ids derive from the job and its rounds, so that an agent that held a lease
    while the coordinator was away finds it again."""

    def __init__(self, runner: JobRunner, services: Services, tuning: TuningStage) -> None:
        self._runner = runner
        self._sheet = runner.sheet
        self._services = services
        self._tuning = tuning

    async def measure(self, wanted: ins.Measure) -> None:
        """One round on one device."""
        expected = await self._tuning.expected(wanted.workload)
        reference = await self._services.references.of(self._runner.brain.target)
        lease, indices = leases.measure_work(wanted, expected[0], reference)
        items = {item.index: item for item in wanted.items}
        task = self._runner.brain.tasks[wanted.workload]

        async def outcome(delivered: Deliver, report: farm_pb2.OutcomeReport) -> None:
            event = replace(
                leases.item_measured(wanted.round, delivered.index, report), remeasured=delivered.remeasured
            )
            await self._runner.record(
                event, *self._on_record(task.spec, items[delivered.index], event, delivered, report)
            )

        async def lost(item: ItemLost) -> None:
            failure = ev.Failure(item.kind.value, item.message)
            await self._runner.record(ev.ItemMeasured(wanted.round, item.index, failure=failure))

        async def suspected(suspicion: Suspected) -> None:
            await self._runner.record(ev.ItemSuspected(wanted.round, suspicion.index, suspicion.times))

        limit = LEASE_SLACK_SECONDS + leases.RUN_TIMEOUT_SECONDS * len(indices)
        work = replace(
            self._work(f"r{wanted.round}", WorkKind.MEASURE, lease, indices, limit),
            reference=reference,
            suspicions={item.index: item.suspicions for item in wanted.items if item.suspicions},
        )
        await self._run(work, outcome, lost, wanted in self._runner.resumed, suspected)

    async def compare(self, wanted: ins.Compare) -> None:
        """One comparison of finalists on one device."""
        groups = dict(wanted.groups)
        expected = {group.workload: await self._tuning.expected(group.workload) for group in groups.values()}
        lease, indices = leases.compare_work(wanted, expected)

        async def outcome(delivered: Deliver, report: farm_pb2.OutcomeReport) -> None:
            group = groups[delivered.index]
            event = leases.group_compared(wanted.number, delivered.index, group, report)
            await self._runner.record(event, *self._judgement(event, delivered, report))

        async def lost(item: ItemLost) -> None:
            failure = ev.Failure(item.kind.value, item.message)
            group = groups[item.index]
            results = tuple(ev.FinalistResult(finalist.identity, failure=failure) for finalist in group.finalists)
            await self._runner.record(ev.GroupCompared(wanted.number, item.index, group.workload, results))

        finalists = sum(len(group.finalists) for group in groups.values())
        limit = LEASE_SLACK_SECONDS + leases.RUN_TIMEOUT_SECONDS * finalists
        work = self._work(f"c{wanted.number}", WorkKind.COMPARE, lease, indices, limit)
        await self._run(work, outcome, lost, wanted in self._runner.resumed)

    async def benchmark(
        self, name: str, wanted: ins.Instruction, work: farm_pb2.BenchmarkWork
    ) -> tuple[Deliver, farm_pb2.OutcomeReport] | ItemLost:
        """Whole models on one device; what came of it. `name` tells the job's benchmarks apart."""
        answer: list[tuple[Deliver, farm_pb2.OutcomeReport] | ItemLost] = []

        async def outcome(delivered: Deliver, report: farm_pb2.OutcomeReport) -> None:
            answer.append((delivered, report))

        async def lost(item: ItemLost) -> None:
            answer.append(item)

        limit = LEASE_SLACK_SECONDS + leases.MODEL_TIMEOUT_SECONDS * len(work.contenders)
        farm_work = self._work(name, WorkKind.BENCHMARK, farm_pb2.Lease(benchmark=work), (0,), limit)
        await self._run(farm_work, outcome, lost, wanted in self._runner.resumed)
        return answer[0]

    def _work(
        self, name: str, kind: WorkKind, lease: farm_pb2.Lease, indices: tuple[int, ...], time_limit: float
    ) -> Work:
        """A piece of this job's work, as the farm takes it. `name` tells it from the others, over restarts too."""
        lease.job_id, lease.trace_id = self._sheet.job_id, self._sheet.spec.trace_id
        return Work(
            work_id=f"{self._sheet.job_id}/{name}",
            job_id=self._sheet.job_id,
            target=self._runner.brain.target,
            item_count=max(indices) + 1,
            kind=kind,
            time_limit=time_limit,
            priority=self._sheet.spec.priority,
            device_class=self._runner.brain.device_class or None,
            indices=indices,
            payload=lease,
        )

    async def _run(
        self,
        work: Work,
        on_outcome: Callable[[Deliver, farm_pb2.OutcomeReport], Awaitable[None]],
        on_lost: Callable[[ItemLost], Awaitable[None]],
        resumed: bool,
        on_suspected: OnSuspected | None = None,
    ) -> None:
        """Submits the work and returns once every wanted index has ended; withdraws it if this is cancelled. Raises
        NoDevice where every device that could do it fails."""
        kind, left = work.kind, set(work.indices)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def outcome(delivered: Deliver, report: farm_pb2.OutcomeReport) -> None:
            if delivered.index not in work.indices:
                # Durable since before a restart: the coordinator died before the agent heard of it.
                return
            await on_outcome(delivered, report)
            ended(delivered.index)
            if left and kind in _HALF_IN:
                self._services.faults.passing(_HALF_IN[kind])

        async def lost(item: ItemLost) -> None:
            await on_lost(item)
            ended(item.index)

        def ended(index: int) -> None:
            left.discard(index)
            if not left and not done.done():
                done.set_result(None)

        def unserved(told: Unserved) -> None:
            if not done.done():
                done.set_exception(NoDevice(told.reason))

        self._services.farm.submit(
            work, outcome, lost, resumed=resumed, on_suspected=on_suspected, on_unserved=unserved
        )
        try:
            await done
        finally:
            self._services.farm.withdraw([work.work_id])

    # ---- what goes into the schedule store

    def _on_record(
        self,
        task: ev.TaskSpec,
        item: ins.MeasureItem,
        event: ev.ItemMeasured,
        delivered: Deliver,
        report: farm_pb2.OutcomeReport,
    ) -> tuple[Change, ...]:
        """The record of one outcome; none where the candidate is not at fault."""
        outcome = _outcome(event)
        if outcome is None:
            return ()
        record = rec.new_record(
            workload=task.workload,
            target=self._runner.brain.target,
            identity=item.identity,
            device_fingerprint=delivered.device.fingerprint,
            outcome=outcome,
            created=time.time(),
            project=self._sheet.spec.project,
            job_id=self._sheet.job_id,
            task_name=task.name,
            source=rec.Source.BASELINE if item.identity == task.baseline else rec.Source.TUNED,
            conditions=leases.conditions(report, delivered.slowed),
            agent_id=delivered.agent_id,
        )
        return (self._device(delivered), AddRecords((record,)))

    def _judgement(
        self, event: ev.GroupCompared, delivered: Deliver, report: farm_pb2.OutcomeReport
    ) -> tuple[Change, ...]:
        """A verification for each finalist and the comparison itself."""
        now = time.time()
        errors = leases.max_rel_errors(report)
        verifications = tuple(
            rec.new_verification(
                workload=event.workload,
                target=self._runner.brain.target,
                identity=result.identity,
                device_fingerprint=delivered.device.fingerprint,
                ok=result.failure is None,
                max_rel_error=errors.get(at),
                message="" if result.failure is None else f"{result.failure.kind}: {result.failure.message}",
                job_id=self._sheet.job_id,
                created=now,
                agent_id=delivered.agent_id,
            )
            for at, result in enumerate(event.results)
            if result.failure is None or result.failure.kind in rec.RECORDED_FAILURES
        )
        outcomes = [(result.identity, _finalist_outcome(result)) for result in event.results]
        comparison = rec.new_comparison(
            workload=event.workload,
            target=self._runner.brain.target,
            device_fingerprint=delivered.device.fingerprint,
            results=tuple((identity, outcome) for identity, outcome in outcomes if outcome is not None),
            job_id=self._sheet.job_id,
            created=now,
            agent_id=delivered.agent_id,
        )
        return self._device(delivered), AddVerifications(verifications), AddComparison(comparison)

    @staticmethod
    def _device(delivered: Deliver) -> Change:
        """What the device is, so that its class can be derived from what the store holds."""
        return AddDevices((DeviceFacts(delivered.device.fingerprint, dict(delivered.device.facts)),))


def _outcome(event: ev.ItemMeasured) -> rec.Outcome | None:
    """What goes on record; nothing where the candidate is not at fault."""
    if event.failure is not None:
        return _failed(event.failure)
    if event.at_least is not None:
        return rec.Censored(event.at_least)
    return rec.Measured(event.samples)


def _finalist_outcome(result: ev.FinalistResult) -> rec.Outcome | None:
    return rec.Measured(result.samples) if result.failure is None else _failed(result.failure)


def _failed(failure: ev.Failure) -> rec.Outcome | None:
    return rec.Failed(failure.kind, failure.message) if failure.kind in rec.RECORDED_FAILURES else None
