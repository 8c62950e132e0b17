"""Carries out the search side of a job: prepare, propose, observe, build."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Iterable
from typing import Any

from tunefarm_coordinator.compute.messages import (
    Build,
    BuildFailed,
    Built,
    ComputeFailed,
    ComputeLost,
    Expected,
    ExpectedOf,
    Observation,
    Observe,
    OpenTask,
    Propose,
    Proposed,
    Request,
    TaskKey,
    UnknownTask,
    WarmUp,
)
from tunefarm_coordinator.control import targets
from tunefarm_coordinator.control.preparing import prepare
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.shape_sets import PreparedSets
from tunefarm_coordinator.control.spent import spent_on
from tunefarm_coordinator.engines.candidate import BuiltCandidate, Neighbour
from tunefarm_coordinator.errors import InvalidInput, NoDesignSpace, NotFound
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_coordinator.schedules.changes import AddCandidates, AddWorkloads, CandidateTrace, KnownWorkload
from tunefarm_coordinator.schedules.nearness import nearest
from tunefarm_coordinator.schedules.record import Source
from tunefarm_proto.v1 import farm_pb2

log = logging.getLogger(__name__)

BUILD_TIMEOUT_SECONDS = 30.0
# Input sets of a kernel: the first is checked at every measurement, all at the finals.
EXPECTED_SEEDS = (0, 1, 2)
# The same request takes the compute child down at most this often before the job is given up.
COMPUTE_ATTEMPTS = 4
# Kernels alike whose best schedules a task begins with of which nothing is known.
NEIGHBOURS = 3
# Records of earlier jobs that a task starts from.
WARM_START_RECORDS = 512


class TuningStage:
    """One job's search. Keeps nothing that can't be had again from store and disk."""

    def __init__(self, runner: JobRunner, services: Services) -> None:
        self._runner = runner
        self._sheet = runner.sheet
        self._services = services
        self._traces: dict[tuple[str, str], str] = {}
        self._summary: asyncio.Task[PreparedSets] | None = None
        self._expected: dict[str, asyncio.Task[tuple[farm_pb2.ExpectedOutputs, ...]]] = {}

    # ---- the prepared model

    async def prepare(self) -> None:
        """Imports the model, finds what the store knows of its tasks, and tells the job."""
        started = time.monotonic()
        await self.ask(WarmUp())
        summary = await self.summary()
        devices = await self._services.farm.wait_for_device(summary.target)
        targets.check_memory(summary.memory, summary.target, devices)
        device_class = targets.common_class(summary.target, devices)
        workloads = [task.workload for task in summary.tasks]
        store = self._services.store
        incumbents = await asyncio.to_thread(store.incumbents, workloads, summary.target, device_class)
        known, seconds = await asyncio.to_thread(spent_on, store, workloads, summary.target, device_class)
        candidates = [
            CandidateTrace(workload, identity_of(trace), trace) for workload, trace in summary.baselines.items()
        ]
        specs = tuple(
            ev.TaskSpec(
                workload=task.workload,
                name=task.name,
                weight=task.weight,
                weights=summary.weights(task.workload),
                flops=task.flops,
                baseline=identity_of(summary.baselines[task.workload]),
                incumbents=(incumbents[task.workload][0].identity,) if task.workload in incumbents else (),
                known=known.get(task.workload, 0),
                known_seconds=seconds.get(task.workload),
                template=summary.templates.get(task.workload, ""),
                nodes=task.nodes,
            )
            for task in summary.tasks
        )
        event = ev.Prepared(summary.target, device_class, specs, time.monotonic() - started, summary.notes)
        await self._runner.record(event, AddWorkloads(known_workloads(summary.tasks)), AddCandidates(tuple(candidates)))

    async def summary(self) -> PreparedSets:
        """The model, prepared for each shape set; prepared once, read back from disk after a restart."""
        if self._summary is None:
            self._summary = asyncio.create_task(self._prepare())
            self._summary.add_done_callback(_take_note)
        return await asyncio.shield(self._summary)

    async def _prepare(self) -> PreparedSets:
        return await prepare(self.ask, self._sheet, self._services.folders)

    async def _task(self, workload: str) -> TuningTask:
        summary = await self.summary()
        found = next((task for task in summary.tasks if task.workload == workload), None)
        if found is None:
            raise InvalidInput(
                f"{workload} is no kernel of the model as this coordinator prepares it (pipeline version "
                f"{summary.pipeline_version}): the job was begun by another version of tunefarm, start a new one"
            )
        return found

    async def expected(self, workload: str) -> tuple[farm_pb2.ExpectedOutputs, ...]:
        """Inputs and expected outputs of the workload, one set for each of EXPECTED_SEEDS."""
        return await asyncio.shield(self._begin_expected(workload))

    def _begin_expected(self, workload: str) -> asyncio.Task[tuple[farm_pb2.ExpectedOutputs, ...]]:
        if workload not in self._expected:
            task = asyncio.create_task(self._compute_expected(workload))
            task.add_done_callback(_take_note)
            self._expected[workload] = task
        return self._expected[workload]

    async def _compute_expected(self, workload: str) -> tuple[farm_pb2.ExpectedOutputs, ...]:
        answer: Expected = await self.ask(ExpectedOf(await self._task(workload), EXPECTED_SEEDS))
        digests = [await self._put(blob) for blob in answer.blobs]
        return tuple(
            farm_pb2.ExpectedOutputs(artifact=digest, rtol=answer.rtol, atol=answer.atol) for digest in digests
        )

    # ---- search

    async def propose(self, wanted: ins.Propose) -> None:
        """One round of search; the task is opened with its history where the searcher does not hold it."""
        # What a candidate's outputs must be is needed by the time that it is built.
        self._begin_expected(wanted.workload)
        try:
            answer = await self._with_task(wanted.workload, Propose(self._key(wanted.workload), wanted.count))
        except NoDesignSpace as error:
            name = (await self._task(wanted.workload)).name
            await self._runner.record(ev.Proposed(wanted.round, (), 0.0, f"{name} keeps its default schedule: {error}"))
            return
        rows = tuple(CandidateTrace(wanted.workload, new.identity, new.trace) for new in answer.proposals)
        self._traces.update({(row.workload, row.identity): row.trace for row in rows})
        identities = tuple(proposal.identity for proposal in answer.proposals)
        await self._runner.record(ev.Proposed(wanted.round, identities, answer.seconds), AddCandidates(rows))

    async def observe(self, wanted: ins.Observe) -> None:
        """Tells search how its candidates did. A searcher that lost the task learns it from the history instead."""
        observations = []
        for identity, seconds in wanted.results:
            with contextlib.suppress(NotFound):  # another job's, which was pruned meanwhile
                observations.append(Observation(identity, await self.trace(wanted.workload, identity), seconds))
        try:
            await self._services.compute.ask(Observe(self._key(wanted.workload), tuple(observations)))
        except (UnknownTask, ComputeLost):
            log.info("searcher will learn a round from history", extra={"job_id": self._sheet.job_id})

    def _key(self, workload: str) -> TaskKey:
        return TaskKey(self._sheet.job_id, workload)

    async def _with_task(self, workload: str, request: Propose) -> Proposed:
        for _ in range(COMPUTE_ATTEMPTS):
            try:
                answer: Proposed = await self.ask(request)
                return answer
            except UnknownTask:
                await self._open(workload)
        raise ComputeFailed(f"searchers kept losing the task {workload}")

    async def _open(self, workload: str) -> None:
        summary = await self.summary()
        store, brain = self._services.store, self._runner.brain
        records = await asyncio.to_thread(
            store.history, workload, summary.target, brain.device_class, WARM_START_RECORDS
        )
        traces = await asyncio.to_thread(store.traces, workload, [record.identity for record in records])
        history = tuple(
            Observation(record.identity, traces[record.identity], record.seconds)
            for record in records
            if record.identity in traces
        )
        task = await self._task(workload)
        await self.ask(
            OpenTask(
                key=self._key(workload),
                task=task,
                target=summary.target,
                engine=self._sheet.tuner,
                seed=self._sheet.seed,
                history=history,
                forbidden=frozenset(brain.tasks[workload].tried),
                # What is asked for now is not charged yet: all that was charged was proposed before.
                random_trials=max(0, brain.options.random_trials - brain.tasks[workload].charged),
                seeds=(summary.baselines[workload],),
                neighbours=() if history else await asyncio.to_thread(self._neighbours, task, summary.target),
            )
        )

    def _neighbours(self, task: TuningTask, target: str) -> tuple[Neighbour, ...]:
        """The best schedules of the kernels nearest to one of which nothing is known, nearest first."""
        store, device_class = self._services.store, self._runner.brain.device_class
        if not task.kind:
            return ()
        alike = store.alike(task.kind, target, device_class)
        alike.pop(task.workload, None)
        names = nearest(task.shapes, alike, NEIGHBOURS)
        best = {
            name: record
            for name, (record, _) in store.incumbents(names, target, device_class).items()
            # Its own default schedule says nothing of another kernel's.
            if record.source is not Source.BASELINE
        }
        traces = store.traces_of(list(best.values()))
        modules = store.workloads(list(best))
        return tuple(
            Neighbour(modules[name].module, traces[name, best[name].identity])
            for name in names
            if name in modules and name in best and (name, best[name].identity) in traces
        )

    # ---- build

    async def build(self, wanted: ins.Build) -> None:
        """Builds one candidate; a failure is the candidate's own and goes on record."""
        task = await self._task(wanted.workload)
        try:
            trace = await self.trace(wanted.workload, wanted.identity)
        except NotFound as gone:
            lost = ev.Failure("BUILD_ERROR", str(gone))
            await self._runner.record(ev.BuildEnded(wanted.round, wanted.index, None, lost, 0.0))
            return
        target = (await self.summary()).target
        answer: Built | BuildFailed = await self.ask(Build(task.module, trace, target, BUILD_TIMEOUT_SECONDS))
        if isinstance(answer, Built):
            artifact = await self._keep(answer.candidate)
            await self._runner.record(ev.BuildEnded(wanted.round, wanted.index, artifact, None, answer.seconds))
            return
        # No device had a part in it: the journal is where this failure stands.
        failure = ev.Failure(answer.kind, answer.message)
        await self._runner.record(ev.BuildEnded(wanted.round, wanted.index, None, failure, answer.seconds))

    async def _keep(self, built: BuiltCandidate) -> ev.Artifact:
        digest = await self._put(built.library)
        return ev.Artifact(
            digest,
            tuple((argument.shape, argument.dtype) for argument in built.arguments),
            tuple((prepack.argument, prepack.function) for prepack in built.prepacks),
        )

    async def _put(self, content: bytes) -> str:
        return await asyncio.to_thread(self._services.artifacts.put, content, self._sheet.job_id)

    async def trace(self, workload: str, identity: str) -> str:
        """The trace of a candidate, from memory or the store. Raises NotFound: it was pruned meanwhile."""
        key = (workload, identity)
        if key not in self._traces:
            found = await asyncio.to_thread(self._services.store.traces, workload, [identity])
            if identity not in found:
                raise NotFound(f"the schedule {identity} of {workload} was pruned from the store")
            self._traces[key] = found[identity]
        return self._traces[key]

    async def ask(self, request: Request) -> Any:
        """Asks the compute child, again where it died under the request."""
        for attempt in range(1, COMPUTE_ATTEMPTS + 1):
            try:
                return await self._services.compute.ask(request)
            except ComputeLost as error:
                if attempt == COMPUTE_ATTEMPTS:
                    raise ComputeFailed(
                        f"{type(request).__name__} took the compute child down {attempt} times: {error}"
                    ) from error
        raise AssertionError("unreachable")


def _take_note(done: asyncio.Task[Any]) -> None:
    """Whoever awaits a task hears of its failure; where nobody does, at a stop, it is nobody's."""
    if not done.cancelled():
        done.exception()


def known_workloads(tasks: Iterable[TuningTask]) -> tuple[KnownWorkload, ...]:
    """The tasks as the store keeps what their workloads stand for."""
    now = time.time()
    return tuple(
        KnownWorkload(task.workload, task.name, task.module, task.flops, now, task.kind, task.shapes) for task in tasks
    )


def identity_of(trace: str) -> str:
    """Identity of a default schedule: it has no searcher to name it."""
    return "default:" + hashlib.sha256(trace.encode()).hexdigest()
