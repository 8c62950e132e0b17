"""All jobs of this coordinator: taken in, gone on with after a restart, found, ended."""

import asyncio
import hashlib
import logging
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from tunefarm_coordinator.compute.messages import (
    CloseJob,
    ComputeFailed,
    ComputeLost,
    PreparedSummary,
    PrepareModel,
    ResolveTarget,
)
from tunefarm_coordinator.control import targets
from tunefarm_coordinator.control.job import JobSheet, check_spec
from tunefarm_coordinator.control.library import ModelLibrary, StoredModel
from tunefarm_coordinator.control.measuring import MeasuringStage
from tunefarm_coordinator.control.packaging import PackagingStage
from tunefarm_coordinator.control.report import job_message, timestamp
from tunefarm_coordinator.control.runner import CarryOut, JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.errors import Conflict, InvalidInput, NotFound, TunefarmError, Unavailable
from tunefarm_coordinator.fault_points import FaultPoint
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.events import TaskSpec
from tunefarm_coordinator.jobs.policy import outlook
from tunefarm_coordinator.models.onnx_file import resolve_shapes
from tunefarm_coordinator.schedules.changes import AddJob, UpdateJob
from tunefarm_coordinator.schedules.job_reads import Job as StoredJob
from tunefarm_proto.v1 import common_pb2, tuning_pb2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedJob:
    """What a job would come to. `first_rounds`: trials of each task's first round, by workload."""

    target: str
    tuner: str
    summary: PreparedSummary
    budget: int
    known: dict[str, int]
    first_rounds: dict[str, int]


class JobRegistry:
    """Running jobs are in memory; ended ones are read from the store."""

    def __init__(self, services: Services, library: ModelLibrary) -> None:
        self._services = services
        self._library = library
        self._running: dict[str, JobRunner] = {}
        self._submitting = asyncio.Lock()

    # ---- life

    async def recover(self, *, leave: bool = False) -> list[str]:
        """Goes on with every job that had not ended, or, with `leave`, with none. The ids of those that wait."""
        unfinished = await asyncio.to_thread(self._services.store.unfinished_jobs)
        if leave:
            await self._sweep()
            return [row.job_id for row in unfinished]
        for row in unfinished:
            spec = tuning_pb2.JobSpec.FromString(row.spec)
            try:
                sheet = await self._sheet(row.job_id, spec, row.created)
            except TunefarmError as error:
                await self._give_up(row, f"the job can't go on after a restart: {error}")
                continue
            runner = JobRunner(sheet, self._services.store, self._state_changed, self._services.faults)
            runner.replay(await asyncio.to_thread(self._services.store.events, row.job_id))
            log.info("job goes on", extra={"job_id": row.job_id, "sequence": runner.sequence})
            self._start(runner)
        await self._sweep()
        return []

    async def stop(self) -> None:
        """Lets go of every job without ending it."""
        await asyncio.gather(*(runner.stop() for runner in self._running.values()))

    def running(self) -> list[JobRunner]:
        """Every job that has not ended."""
        return list(self._running.values())

    # ---- what users ask

    async def submit(self, key: str, spec: tuning_pb2.JobSpec) -> tuning_pb2.Job:
        """Starts a job, or returns the one that was started under this key."""
        if not key:
            raise InvalidInput("idempotency_key is empty: send a new random one with each job")
        check_spec(spec)
        digest = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()
        async with self._submitting:
            store = self._services.store
            known = await asyncio.to_thread(store.find_job, spec.project, key)
            if known is not None:
                if known.spec_digest != digest:
                    raise Conflict(f"idempotency key {key!r} was used for another job: {known.job_id}")
                return await self.get(known.job_id)
            created = time.time()
            job_id = f"job-{uuid.uuid4().hex[:12]}"
            # What the target means may change with the farm; the job keeps what it means now.
            resolved = await self._resolved(spec)
            sheet = await self._sheet(job_id, resolved, created)
            row = AddJob(
                job_id=job_id,
                idempotency_key=key,
                spec_digest=digest,
                spec=resolved.SerializeToString(deterministic=True),
                model_id=spec.model_id,
                project=spec.project,
                owner=spec.owner,
                state="PREPARING",
                created=created,
            )
            await asyncio.wrap_future(store.write(row))
            return job_message(self._start(JobRunner(sheet, store, self._state_changed, self._services.faults)))

    async def plan(self, spec: tuning_pb2.JobSpec) -> PlannedJob:
        """What the job would come to; spends no trial."""
        check_spec(spec)
        resolved = await self._resolved(spec)
        sheet = await self._sheet("plan", resolved, time.time())
        folder = self._services.folders.prepared(spec.model_id, sheet.shapes, sheet.target)
        try:
            summary = await self._services.compute.ask(PrepareModel(sheet.model, sheet.shapes, sheet.target, folder))
        except ComputeLost as error:
            raise Unavailable(f"the model could not be prepared now, try again: {error}") from error
        except ComputeFailed as error:
            raise TunefarmError(f"the model could not be prepared: {error}") from error
        device_class = targets.common_class(summary.target, self._services.farm.devices())
        workloads = [task.workload for task in summary.tasks]
        found = await asyncio.to_thread(self._services.store.count_valid, workloads, summary.target, device_class)
        known = {workload: found.get(workload, 0) for workload in workloads}
        options = sheet.options
        specs = [
            TaskSpec(task.workload, task.name, task.weight, task.flops, "", known=known[task.workload])
            for task in summary.tasks
        ]
        planned = outlook(options, specs)
        return PlannedJob(summary.target, sheet.tuner, summary, planned.budget, known, planned.first_rounds)

    async def get(self, job_id: str) -> tuning_pb2.Job:
        runner = self._running.get(job_id)
        if runner is not None:
            return job_message(runner)
        row = await asyncio.to_thread(self._services.store.job, job_id)
        if row is None:
            raise NotFound(f"no job {job_id!r}: `tunefarm jobs` lists them")
        return tuning_pb2.Job.FromString(row.summary)

    async def list(
        self, project: str, states: Sequence[str], page_size: int, page_token: str
    ) -> tuple[list[tuning_pb2.Job], str]:
        """Newest first, without their tasks."""
        page = await asyncio.to_thread(
            self._services.store.list_jobs,
            project=project,
            states=states,
            page_size=page_size,
            page_token=page_token,
        )
        jobs = []
        for row in page.jobs:
            runner = self._running.get(row.job_id)
            job = job_message(runner) if runner else tuning_pb2.Job.FromString(row.summary)
            del job.tasks[:]
            jobs.append(job)
        return jobs, page.next_token

    async def wait_change(self, job_id: str, after: int) -> None:
        """Returns once the job has moved past sequence `after`; at once if it has ended."""
        runner = self._running.get(job_id)
        if runner is not None:
            await runner.wait_change(after)

    async def cancel(self, job_id: str, reason: str) -> tuning_pb2.Job:
        runner = self._running.get(job_id)
        if runner is not None:
            await runner.cancel(reason)
        return await self.get(job_id)

    # ---- inside

    async def _resolved(self, spec: tuning_pb2.JobSpec) -> tuning_pb2.JobSpec:
        """The spec with its target as TVM's JSON."""
        target = await self._target(spec)
        resolved = tuning_pb2.JobSpec()
        resolved.CopyFrom(spec)
        del resolved.targets[:]
        resolved.targets.append(target)
        return resolved

    async def _target(self, spec: tuning_pb2.JobSpec) -> common_pb2.TargetSpec:
        """TVM's JSON for what the user asked for, served by a device of the farm."""
        text = spec.targets[0].text if spec.targets else targets.HOST
        devices = self._services.farm.devices()
        named = targets.by_name(text, devices)
        target: str = named or await self._services.compute.ask(ResolveTarget(text))
        targets.check_served(target, devices)
        return common_pb2.TargetSpec(text=target)

    async def _sheet(self, job_id: str, spec: tuning_pb2.JobSpec, created: float) -> JobSheet:
        model: StoredModel = await self._library.get(spec.model_id)
        given = {name: list(shape.dims) for shapes in spec.shape_sets for name, shape in shapes.inputs.items()}
        return JobSheet(
            job_id=job_id,
            spec=spec,
            model=model.path,
            model_name=spec.name or model.name,
            shapes=resolve_shapes(model.signature, given),
            target=spec.targets[0].text,
            created=created,
        )

    async def _give_up(self, row: StoredJob, message: str) -> None:
        """Ends a job that can't be gone on with: one that is broken must not keep the others from going on."""
        log.error("job given up", extra={"job_id": row.job_id, "error": message})
        ended = time.time()
        job = tuning_pb2.Job.FromString(row.summary)
        job.job_id, job.state = row.job_id, tuning_pb2.JOB_STATE_FAILED
        job.error.CopyFrom(tuning_pb2.JobError(kind=tuning_pb2.JOB_ERROR_KIND_INTERNAL, message=message))
        job.ended.CopyFrom(timestamp(ended))
        await self._write(job, "FAILED", ended)

    def _start(self, runner: JobRunner) -> JobRunner:
        tuning = TuningStage(runner, self._services)
        measuring = MeasuringStage(runner, self._services, tuning)
        packaging = PackagingStage(runner, self._services, tuning, measuring)
        self._running[runner.sheet.job_id] = runner
        runner.start(_carry_out(tuning, measuring, packaging))
        return runner

    async def _state_changed(self, runner: JobRunner) -> None:
        """Writes down what users see of the job; at its end, lets go of what it held."""
        self._services.faults.passing(FaultPoint.BETWEEN_JOURNAL_AND_SNAPSHOT)
        if runner.brain.state.terminal:
            await self._ended(runner)
        else:
            await self._write(job_message(runner), runner.brain.state.value, None)

    async def _write(self, job: tuning_pb2.Job, state: str, ended: float | None) -> None:
        change = UpdateJob(job.job_id, state, job.SerializeToString(), ended)
        await asyncio.wrap_future(self._services.store.write(change))

    async def _ended(self, runner: JobRunner) -> None:
        job = job_message(runner)
        job_id = runner.sheet.job_id
        if not job.has_package:
            # A package that was not found right, or not wanted any more, is none.
            await asyncio.to_thread(shutil.rmtree, self._services.folders.package(job_id), ignore_errors=True)
        await asyncio.to_thread(shutil.rmtree, self._services.folders.untuned(job_id), ignore_errors=True)
        await self._write(job, runner.brain.state.value, runner.ended)
        self._services.farm.withdraw_job(job_id)
        self._running.pop(job_id, None)
        runner.announce()
        try:
            await self._services.compute.ask(CloseJob(job_id))
        except ComputeLost:
            log.info("compute child is gone, and the job's searchers with it", extra={"job_id": job_id})
        await self._sweep()

    async def _sweep(self) -> None:
        """Removes every artifact once no job is left that may want it: candidates are built again from their traces."""
        async with self._submitting:
            if not self._running:
                await asyncio.to_thread(self._services.artifacts.sweep, frozenset())


def _carry_out(tuning: TuningStage, measuring: MeasuringStage, packaging: PackagingStage) -> CarryOut:
    """Which stage does what."""

    async def carry_out(wanted: ins.Instruction) -> None:
        match wanted:
            case ins.Prepare():
                await tuning.prepare()
            case ins.Propose():
                await tuning.propose(wanted)
            case ins.Observe():
                await tuning.observe(wanted)
            case ins.Build():
                await tuning.build(wanted)
            case ins.Measure():
                await measuring.measure(wanted)
            case ins.Compare():
                await measuring.compare(wanted)
            case ins.Package():
                await packaging.package(wanted)
            case ins.TimeKernels():
                await packaging.time_kernels(wanted)
            case ins.Benchmark():
                await packaging.benchmark(wanted)

    return carry_out
