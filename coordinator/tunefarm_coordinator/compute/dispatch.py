"""Answers the coordinator's requests with the workers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import ray

from tunefarm_coordinator.compute import actors
from tunefarm_coordinator.compute.check_desk import check
from tunefarm_coordinator.compute.cluster import Cluster, make_actor
from tunefarm_coordinator.compute.messages import (
    AppendDatabase,
    Build,
    BuildFailed,
    BuildReference,
    Built,
    CheckModel,
    CheckPackage,
    CloseJob,
    ComputeFailed,
    ExpectedOf,
    Gate,
    Observe,
    OpenTask,
    Package,
    PrepareModel,
    Propose,
    ReadDatabase,
    Reference,
    ResolveTarget,
    SetGates,
    WarmUp,
)
from tunefarm_coordinator.compute.model_pool import ModelPool
from tunefarm_coordinator.compute.pool import Pool
from tunefarm_coordinator.compute.search_desk import SearchDesk
from tunefarm_coordinator.compute.settings import ComputeSettings, FaultPlan
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerHung
from tunefarm_coordinator.compute.workers import Worker

# On a cluster a node may go away under a build: the next builder decides whose fault it was.
CLUSTER_BUILD_ATTEMPTS = 2

_MODEL_METHODS: dict[type, str] = {
    ResolveTarget: "resolve_target",
    PrepareModel: "prepare",
    ExpectedOf: "expected",
    Package: "package",
    CheckPackage: "check_package",
    Reference: "reference",
    AppendDatabase: "append_database",
}


class Dispatcher:
    """One for the life of a driver. `answer` may be called any number of times at once."""

    def __init__(self, cluster: Cluster, settings: ComputeSettings, gates: tuple[Gate, ...], faults: FaultPlan) -> None:
        self._cluster = cluster
        self._settings = settings
        self._gates = gates
        self._faults = faults
        self._build_attempts = 1 if cluster.private else CLUSTER_BUILD_ATTEMPTS
        sizes = cluster.sizes
        self._builders = Pool(lambda: self._worker(actors.Builder), sizes.builders)
        self._search = SearchDesk(
            lambda: self._worker(actors.Searcher),
            lambda: self._worker(actors.Trainer),
            sizes.searchers,
            settings.search_timeout,
            ray.put,
        )
        self._models = ModelPool(
            lambda: self._worker(actors.ModelWorker),
            sizes.models,
            settings.model_timeout,
            settings.model_idle_seconds,
        )
        self._building = 0
        self._warming: asyncio.Task[None] | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._handlers: dict[type, Callable[[Any], Awaitable[object]]] = {
            CheckModel: lambda request: check(self._models, request),
            ReadDatabase: lambda request: self._models.call("read_database", request, limit=request.timeout),
            Build: lambda request: self._build("build", request),
            BuildReference: lambda request: self._build("build_reference", request),
            OpenTask: self._search.open,
            Propose: self._search.propose,
            Observe: self._search.observe,
            CloseJob: self._close,
            WarmUp: self._warm_up,
            SetGates: self._set_gates,
        }

    async def answer(self, request: object) -> object:
        """The request's answer. Raises InvalidInput, UnknownTask, ComputeFailed."""
        kind = type(request)
        self._wake()
        try:
            if kind in _MODEL_METHODS:
                return await self._models.call(_MODEL_METHODS[kind], request)
            if kind in self._handlers:
                return await self._handlers[kind](request)
        finally:
            self._let_rest()
        raise ComputeFailed(f"{kind.__name__} is no request")

    def _worker(self, kind: type) -> Worker:
        actor = make_actor(self._cluster, kind, self._gates, self._faults, self._settings.cuda)
        return Worker(actor, self._settings.still_timeout)

    async def _build(self, method: str, request: Build | BuildReference) -> Built | BuildFailed:
        self._building += 1
        try:
            return await self._try_build(method, request)
        finally:
            self._building -= 1

    async def _try_build(self, method: str, request: Build | BuildReference) -> Built | BuildFailed:
        for attempt in range(1, self._build_attempts + 1):
            try:
                built: Built | BuildFailed = await self._builders.call(method, request, limit=request.timeout)
                return built
            except WorkerHung as error:
                return BuildFailed("BUILD_TIMEOUT", f"the build took longer than {request.timeout:g} s", error.seconds)
            except WorkerDied as error:
                if attempt == self._build_attempts:
                    return BuildFailed("BUILD_ERROR", f"the build ended its process: {error}", error.seconds)
        raise AssertionError("at least one attempt is made")

    async def _close(self, request: CloseJob) -> None:
        self._search.close(request.job_id)

    async def _warm_up(self, _: WarmUp) -> None:
        self._warming = asyncio.create_task(self._warm_one_by_one())

    async def _warm_one_by_one(self) -> None:
        """A model worker first: a job begins with it, and the others would only take the cores from it."""
        await self._models.warm_up()
        self._search.warm_up()
        self._builders.warm_up()

    async def _set_gates(self, request: SetGates) -> None:
        self._gates = request.gates
        for worker in (*self._builders.workers, *self._search.workers, *self._models.workers):
            worker.tell("set_gates", request.gates)

    def _wake(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _let_rest(self) -> None:
        """Ends searchers and builders some time after the last job was closed."""
        self._wake()
        if self._search.idle and not self._building:
            loop = asyncio.get_running_loop()
            self._rest = loop.call_later(self._settings.pool_idle_seconds, self._dismiss)

    def _dismiss(self) -> None:
        if self._search.idle and not self._building:
            self._search.dismiss()
            self._builders.dismiss()
