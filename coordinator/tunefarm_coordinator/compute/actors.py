"""The worker processes: each class is one Ray actor, plain Python here and made an actor in `cluster.py`.

An actor is serial. `acquire` and `release` are calls of their own, because the driver counts a time limit from
the moment that the permit is there; and `acquire` answers even while the gate is closed, because a worker that
waits is known from one that stands still by its answers. TVM is imported in `warm`, so that an actor exists at once.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence

from tunefarm_coordinator.compute.gate import HostGates
from tunefarm_coordinator.compute.messages import (
    AppendDatabase,
    Build,
    BuildFailed,
    BuildReference,
    Built,
    Checked,
    CheckModel,
    CheckPackage,
    Expected,
    ExpectedOf,
    Gate,
    Observation,
    OpenTask,
    Package,
    Packaged,
    PreparedSummary,
    PrepareModel,
    Propose,
    Proposed,
    ReadDatabase,
    Reference,
    ResolveTarget,
    TaskKey,
    UnknownTask,
)
from tunefarm_coordinator.compute.settings import FaultPlan, candidate_digest
from tunefarm_coordinator.engines.candidate import BuildError, BuiltCandidate
from tunefarm_coordinator.engines.cost_model import CostModel, CostModelTrainer, Sample, ScoreModel
from tunefarm_coordinator.engines.cuda import options
from tunefarm_coordinator.engines.cuda.options import CudaOptions
from tunefarm_coordinator.engines.engine import Observation as Result
from tunefarm_coordinator.engines.engine import Search, TaskRecord, engine
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.log_lines import ReadSlice, Written


class Worker:
    """What all workers have: permits, and a way to find out that they are up."""

    def __init__(self, gates: Sequence[Gate], faults: FaultPlan, cuda: CudaOptions) -> None:
        self._gates = HostGates(gates)
        self._faults = faults
        options.configure(cuda)

    def set_gates(self, gates: Sequence[Gate]) -> None:
        """See `HostGates.set`."""
        self._gates.set(gates)

    def acquire(self, seconds: float) -> bool:
        """Waits for so long until this host's gates let this worker compute; whether they do."""
        return self._gates.acquire(seconds)

    def release(self) -> None:
        """Computing is over for now."""
        self._gates.release()

    def up(self) -> None:
        """Answers once the process is there."""

    def warm(self) -> int:
        """Imports what the work needs; returns the process id."""
        return os.getpid()


class Builder(Worker):
    """Builds candidates, one at a time."""

    def warm(self) -> int:
        from tunefarm_coordinator.engines import build  # noqa: F401

        return os.getpid()

    def build(self, request: Build) -> Built | BuildFailed:
        """Everything that TVM finds wrong with a candidate is an answer; the rest is a crash."""
        from tunefarm_coordinator.engines.build import build_candidate

        self._inject(request.trace)
        return _built(lambda: build_candidate(request.module, request.trace, request.target))

    def build_reference(self, request: BuildReference) -> Built | BuildFailed:
        """See `BuildReference`."""
        from tunefarm_coordinator.engines.reference_kernel import build_reference

        return _built(lambda: build_reference(request.target))

    def _inject(self, trace: str) -> None:
        digest = candidate_digest(trace)
        if self._faults.crash_build and digest % self._faults.crash_build == 0:
            os.abort()
        if self._faults.hang_build and digest % self._faults.hang_build == 0:
            time.sleep(3600)


def _built(build: Callable[[], BuiltCandidate]) -> Built | BuildFailed:
    started = time.monotonic()
    try:
        built = build()
    except BuildError as error:
        return BuildFailed("BUILD_ERROR", str(error), time.monotonic() - started)
    return Built(built, time.monotonic() - started)


class Searcher(Worker):
    """Holds the searches of some tasks, and each job's cost model as last trained."""

    def __init__(self, gates: Sequence[Gate], faults: FaultPlan, cuda: CudaOptions) -> None:
        super().__init__(gates, faults, cuda)
        self._searches: dict[TaskKey, Search] = {}
        self._proposed: dict[TaskKey, set[str]] = {}
        self._observed: dict[TaskKey, set[str]] = {}
        self._models: dict[str, ScoreModel] = {}
        self._rounds = 0

    def warm(self) -> int:
        import xgboost  # noqa: F401

        from tunefarm_coordinator.engines import search  # noqa: F401
        from tunefarm_coordinator.engines.schedule_calls import without_type_checks

        without_type_checks()
        return os.getpid()

    def open(self, request: OpenTask) -> list[Sample]:
        """Opens, or rebuilds, the search of a task; returns what the cost model can learn from its history."""
        records = [TaskRecord(past.trace, past.seconds) for past in request.history]
        search = engine(request.engine).open(
            request.task.workload,
            request.task.module,
            request.target,
            request.seed,
            records,
            request.forbidden,
            request.random_trials,
            request.seeds,
            request.neighbours,
        )
        self._searches[request.key] = search
        self._proposed[request.key] = set()
        self._observed[request.key] = {past.identity for past in request.history}
        return search.samples()

    def propose(self, request: Propose) -> Proposed:
        """One round. Raises UnknownTask."""
        self._rounds += 1
        if self._rounds == self._faults.exit_search:
            os._exit(1)
        started = time.monotonic()
        search = self._search(request.key)
        proposals = search.propose(request.count, self._models.get(request.key.job_id), self._gates.breathe)
        self._proposed[request.key].update(proposal.identity for proposal in proposals)
        return Proposed(tuple(proposals), time.monotonic() - started, search.exhausted)

    def observe(self, key: TaskKey, observations: Sequence[Observation]) -> list[Sample]:
        """Takes results in; returns what is new to the cost model. Raises UnknownTask."""
        search, observed = self._search(key), self._observed[key]
        fresh = [each for each in observations if each.identity not in observed]
        observed.update(each.identity for each in fresh)
        results = [self._result(key, search, each) for each in fresh]
        return search.observe([result for result in results if result is not None])

    def _result(self, key: TaskKey, search: Search, observation: Observation) -> Result | None:
        """The observation under the name that the search has for it; None if it can't take it in."""
        if observation.identity in self._proposed[key]:
            return Result(observation.identity, observation.seconds)
        try:
            return Result(search.adopt(observation.trace).identity, observation.seconds)
        except InvalidInput:  # it does not replay on this task: nothing to learn from it
            return None

    def set_model(self, job_id: str, model: bytes) -> None:
        """The job's cost model, trained anew."""
        self._models[job_id] = ScoreModel.from_bytes(model)

    def close(self, job_id: str) -> None:
        """Forgets a job."""
        self._models.pop(job_id, None)
        for key in [key for key in self._searches if key.job_id == job_id]:
            del self._searches[key], self._proposed[key], self._observed[key]

    def _search(self, key: TaskKey) -> Search:
        if key not in self._searches:
            raise UnknownTask(f"no search is open for task {key.workload} of job {key.job_id}")
        return self._searches[key]


class Trainer(Worker):
    """Trains the cost models, one for each job. No TVM in this process."""

    def __init__(self, gates: Sequence[Gate], faults: FaultPlan, cuda: CudaOptions) -> None:
        super().__init__(gates, faults, cuda)
        self._trainers: dict[str, CostModelTrainer] = {}

    def warm(self) -> int:
        import xgboost  # noqa: F401

        return os.getpid()

    def learn(self, job_id: str, seed: int, samples: Sequence[Sample]) -> CostModel:
        """Adds samples; the model is fitted anew when enough of them are new (its version grows then)."""
        if job_id not in self._trainers:
            self._trainers[job_id] = CostModelTrainer(seed)
        trainer = self._trainers[job_id]
        before = trainer.model.version
        fitted = trainer.update(samples)
        if fitted.version != before:
            self._inject(fitted.version)
        return fitted

    def _inject(self, fit: int) -> None:
        """Nobody has heard of the fit yet: for the others this is in the middle of it."""
        if fit == self._faults.exit_refit:
            os.kill(os.getpid(), signal.SIGKILL)
        if fit == self._faults.hang_refit:
            time.sleep(3600)

    def close(self, job_id: str) -> None:
        """Forgets a job."""
        self._trainers.pop(job_id, None)


class ModelWorker(Worker):
    """Whole models: import, expected outputs, packages. Large and rare, so started on demand."""

    def warm(self) -> int:
        from tunefarm_coordinator.compute import model_check, model_work  # noqa: F401
        from tunefarm_coordinator.engines.schedule_calls import without_type_checks

        without_type_checks()
        return os.getpid()

    def resolve_target(self, request: ResolveTarget) -> str:
        """See `ResolveTarget`."""
        from tunefarm_coordinator.models.target import resolve_target

        return resolve_target(request.text)

    def prepare(self, request: PrepareModel) -> PreparedSummary:
        """See `PrepareModel`."""
        from tunefarm_coordinator.compute.model_work import prepare_model

        return prepare_model(request)

    def check(self, request: CheckModel) -> Checked:
        """See `CheckModel`."""
        from tunefarm_coordinator.compute.model_check import check_model

        return check_model(request)

    def check_package(self, request: CheckPackage) -> bool:
        """See `CheckPackage`."""
        from tunefarm_coordinator.compute.model_check import check_package

        return check_package(request)

    def expected(self, request: ExpectedOf) -> Expected:
        """See `ExpectedOf`."""
        from tunefarm_coordinator.compute.model_work import expected_of

        return expected_of(request)

    def package(self, request: Package) -> Packaged:
        """See `Package`."""
        from tunefarm_coordinator.compute.model_work import package_model

        return package_model(request)

    def reference(self, request: Reference) -> tuple[bytes, bytes]:
        """See `Reference`."""
        from tunefarm_coordinator.compute.model_work import reference_of

        return reference_of(request)

    def read_database(self, request: ReadDatabase) -> ReadSlice:
        """See `ReadDatabase`."""
        from tunefarm_coordinator.compute.model_work import read_database

        return read_database(request)

    def append_database(self, request: AppendDatabase) -> Written:
        """See `AppendDatabase`."""
        from tunefarm_coordinator.compute.model_work import append_database

        return append_database(request)
