"""All jobs of this coordinator: taken in, gone on with after a restart or an end, found, ended."""

import asyncio
import hashlib
import logging
import shutil
import time
import uuid
from collections.abc import Sequence

from tunefarm_coordinator.compute.messages import CloseJob, ComputeLost
from tunefarm_coordinator.control import targets
from tunefarm_coordinator.control.intake import Intake
from tunefarm_coordinator.control.job import JobSheet, check_spec
from tunefarm_coordinator.control.report import job_message, timestamp
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.stages import stages
from tunefarm_coordinator.errors import Conflict, InvalidInput, NotFound, NotReady, TunefarmError, Unavailable
from tunefarm_coordinator.fault_points import FaultPoint
from tunefarm_coordinator.jobs.events import Resumed
from tunefarm_coordinator.schedules.changes import AddJob, UpdateJob
from tunefarm_coordinator.schedules.job_reads import Job as StoredJob
from tunefarm_proto.v1 import tuning_pb2

log = logging.getLogger(__name__)

# An end that is not written down within this time: a disk that is full.
ENDING_SECONDS = 30.0


class JobRegistry:
    """Running and interrupted jobs are in memory; ended ones are read from the store.

    An interrupted job was left unfinished by an earlier coordinator, and waits until it is resumed or cancelled.
    """

    def __init__(self, services: Services, intake: Intake) -> None:
        self._services = services
        self._intake = intake
        self._running: dict[str, JobRunner] = {}
        self._interrupted: dict[str, JobRunner] = {}
        self._ending: dict[str, JobRunner] = {}
        self._submitting = asyncio.Lock()
        self._stopped = False

    # ---- life

    async def recover(self, *, leave: bool = False) -> list[str]:
        """Goes on with every job that had not ended, or, with `leave`, with none. The ids of those that wait."""
        for row in await asyncio.to_thread(self._services.store.unfinished_jobs):
            try:
                runner = await self._replayed(row)
            except TunefarmError as error:
                await self._give_up(row, f"the job can't go on after a restart: {error}")
                continue
            if leave and not runner.brain.state.terminal:
                runner.leave()
                self._interrupted[row.job_id] = runner
                continue
            log.info("job goes on", extra={"job_id": row.job_id, "sequence": runner.sequence})
            await asyncio.to_thread(self._services.artifacts.inherit, row.job_id)
            self._start(runner)
        await asyncio.to_thread(self._services.artifacts.release)
        return list(self._interrupted)

    async def stop(self) -> None:
        """Lets go of every job without ending it, and of whoever waits for one."""
        self._stopped = True
        await asyncio.gather(*(runner.stop() for runner in self._running.values()))
        for runner in self._running.values():
            runner.announce()

    def running(self) -> list[JobRunner]:
        """Every job that has not ended, and is not interrupted."""
        return list(self._running.values())

    # ---- what users ask

    async def submit(self, key: str, spec: tuning_pb2.JobSpec) -> tuning_pb2.Job:
        """Starts a job, or returns the one that was started under this key."""
        _check_key(key, "job")
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
            resolved = await self._intake.resolved(spec)
            sheet = await self._intake.sheet(job_id, resolved, created)
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
            return job_message(self._start(self._runner(sheet)))

    async def resume(self, job_id: str, wish: Resumed) -> tuning_pb2.Job:
        """Goes on with a job that ended or was interrupted; the same wish again changes nothing.

        Raises InvalidInput, NotFound, NoDevice; NotReady: it is running, or would have nothing to do; Conflict: the
        key was used on this job for another wish.
        """
        _check_key(wish.key, "wish to resume")
        await self._let_end(job_id)
        async with self._submitting:
            running = self._running.get(job_id)
            if running is not None:
                if not _was_granted(running, wish):
                    raise NotReady(f"job {job_id} is running: cancel it first, or wait until it ends")
                return job_message(running)
            row = await self._row(job_id)
            runner = await self._replayed(row)
            if _was_granted(runner, wish):
                return await self.get(job_id)
            runner.brain.check_resume(wish)
            targets.check_served(runner.sheet.target, self._services.farm.devices())
            await runner.reopen(wish)
            self._interrupted.pop(job_id, None)
            log.info("job goes on", extra={"job_id": job_id, "sequence": runner.sequence})
            return job_message(self._start(runner))

    async def get(self, job_id: str) -> tuning_pb2.Job:
        runner = self._running.get(job_id) or self._interrupted.get(job_id)
        if runner is not None:
            return job_message(runner)
        return tuning_pb2.Job.FromString((await self._row(job_id)).summary)

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
            runner = self._running.get(row.job_id) or self._interrupted.get(row.job_id)
            job = job_message(runner) if runner else tuning_pb2.Job.FromString(row.summary)
            del job.tasks[:]
            jobs.append(job)
        return jobs, page.next_token

    def check_moves(self, job_id: str) -> None:
        """Raises NotReady for an interrupted job: whoever waits for it to change would wait for ever."""
        if job_id in self._interrupted:
            raise NotReady(
                f"job {job_id} was interrupted and waits: `tunefarm job resume {job_id}` goes on with it, "
                f"`tunefarm job cancel {job_id}` ends it"
            )

    async def wait_change(self, job_id: str, after: int) -> None:
        """Returns once the job has moved past sequence `after`; at once if it has ended. Raises Unavailable: the
        coordinator stops."""
        runner = self._running.get(job_id)
        if runner is not None:
            await runner.wait_change(after)
        if self._stopped:
            raise Unavailable("the coordinator is stopping: ask again in a moment")

    async def cancel(self, job_id: str, reason: str) -> tuning_pb2.Job:
        """Ends the job, also one that was interrupted; one that has ended stays as it is."""
        async with self._submitting:
            interrupted = self._interrupted.pop(job_id, None)
            if interrupted is not None:
                interrupted.waits_since = None
                self._start(interrupted, idle=True)
        runner = self._running.get(job_id)
        if runner is not None:
            await runner.cancel(reason)
        if interrupted is not None:
            # Whoever ends it may have started this coordinator for nothing else.
            await self._let_end(job_id)
        return await self.get(job_id)

    # ---- inside

    async def _row(self, job_id: str) -> StoredJob:
        row = await asyncio.to_thread(self._services.store.job, job_id)
        if row is None:
            raise NotFound(f"no job {job_id!r}: `tunefarm jobs` lists them")
        return row

    def _runner(self, sheet: JobSheet) -> JobRunner:
        return JobRunner(sheet, self._services.store, self._state_changed, self._services.faults)

    async def _replayed(self, row: StoredJob) -> JobRunner:
        """The job as its journal left it. Raises NotFound, InvalidInput: its model is gone; NotReady: what was written
        of it can't be read, or makes no job of this version."""
        try:
            spec = tuning_pb2.JobSpec.FromString(row.spec)
            runner = self._runner(await self._intake.sheet(row.job_id, spec, row.created))
            runner.replay(await asyncio.to_thread(self._services.store.events, row.job_id))
        except TunefarmError:
            raise
        except Exception as error:
            # Whatever a damaged row, or one of another version, makes of the brain: it is this one job's.
            log.exception("a job's journal can't be read", extra={"job_id": row.job_id})
            raise NotReady(
                f"the journal of job {row.job_id} can't be read by this version ({type(error).__name__}, see the "
                "coordinator's log); what it measured is kept, and a new job starts from it"
            ) from error
        return runner

    async def _let_end(self, job_id: str) -> None:
        """Waits until a job that is ending has let go of everything. Raises NotReady if that takes too long."""
        runner = self._running.get(job_id) or self._ending.get(job_id)
        if runner is None or not runner.brain.state.terminal:
            return
        try:
            async with asyncio.timeout(ENDING_SECONDS):
                await runner.over.wait()
        except TimeoutError:
            raise NotReady(f"job {job_id} is still ending: see the coordinator's log, and try again") from None

    async def _give_up(self, row: StoredJob, message: str) -> None:
        """Ends a job that can't be gone on with: one that is broken must not keep the others from going on."""
        log.error("job given up", extra={"job_id": row.job_id, "error": message})
        ended = time.time()
        job = tuning_pb2.Job.FromString(row.summary)
        job.job_id, job.state = row.job_id, tuning_pb2.JOB_STATE_FAILED
        job.error.CopyFrom(tuning_pb2.JobError(kind=tuning_pb2.JOB_ERROR_KIND_INTERNAL, message=message))
        job.ended.CopyFrom(timestamp(ended))
        await self._write(job, "FAILED", ended)

    def _start(self, runner: JobRunner, *, idle: bool = False) -> JobRunner:
        self._running[runner.sheet.job_id] = runner
        runner.start(stages(runner, self._services), idle=idle)
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
        job_id = runner.sheet.job_id
        await self._remove_folders(runner)
        await self._write(job_message(runner), runner.brain.state.value, runner.ended)
        self._services.farm.withdraw_job(job_id)
        self._ending[job_id] = self._running.pop(job_id)
        runner.announce()
        try:
            await self._services.compute.ask(CloseJob(job_id))
        except ComputeLost:
            log.info("compute child is gone, and the job's searchers with it", extra={"job_id": job_id})
        await asyncio.to_thread(self._services.artifacts.release, job_id)
        del self._ending[job_id]
        runner.over.set()

    async def _remove_folders(self, runner: JobRunner) -> None:
        """What is not found right, or not wanted any more, is no package; one of an earlier end stays."""
        folders, job_id = self._services.folders, runner.sheet.job_id
        doomed = [folders.draft(job_id), folders.untuned(job_id)]
        if not runner.packaged:
            doomed.append(folders.package(job_id))
        for folder in doomed:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _check_key(key: str, what: str) -> None:
    if not key:
        raise InvalidInput(f"idempotency_key is empty: send a new random one with each {what}")


def _was_granted(runner: JobRunner, wish: Resumed) -> bool:
    """Whether the job went on by this very wish before. Raises Conflict if the key was used for another."""
    known = runner.brain.resumptions.get(wish.key)
    if known is not None and known != wish:
        raise Conflict(f"idempotency key {wish.key!r} was used on job {runner.sheet.job_id} with other totals")
    return known is not None
