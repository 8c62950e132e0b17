"""The real TuningService over real gRPC, in a thread of its own; in place of the compute child, one that prepares
every model alike and searches nothing."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import grpc
import grpc.aio

from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.compute.messages import (
    Checked,
    CheckModel,
    ComputeFailed,
    PreparedSummary,
    PrepareModel,
    ResolveTarget,
    WarmUp,
)
from tunefarm_coordinator.control.attachment import Hello
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.intake import Intake
from tunefarm_coordinator.control.library import ModelLibrary
from tunefarm_coordinator.control.planning import Planner
from tunefarm_coordinator.control.references import References
from tunefarm_coordinator.control.registry import JobRegistry
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.farm.messages import FarmDevice
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.fault_points import FaultPoints
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.tuning import TuningServicer
from tunefarm_proto.v1 import tuning_pb2_grpc

TARGET = json.dumps({"kind": "llvm", "mcpu": "znver4", "mtriple": "x86_64-linux-gnu", "num-cores": 2}, sort_keys=True)
TASKS = tuple(TuningTask(f"w{at}", f"conv{at}", 1, "{}", 1e9 / (at + 1)) for at in range(3))
# The last task has no template.
TEMPLATES = {"w0": "conv2d", "w1": "dense"}


class PreparingCompute:
    """Answers what comes before the first trial. Jobs stay at their first step while `holds`, and fail there else."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        self.holds = True
        self.prepared: list[PrepareModel] = []
        self._templates = dict(templates)

    async def ask(self, request: object) -> object:
        match request:
            case PrepareModel():
                self.prepared.append(request)
                return PreparedSummary(
                    target=request.target,
                    layout="NHWC",
                    pipeline_version="1",
                    tasks=TASKS,
                    baselines={task.workload: "[]" for task in TASKS},
                    inputs=(),
                    outputs=(),
                    templates=self._templates,
                )
            case CheckModel():
                return Checked()
            case ResolveTarget():
                raise InvalidInput(f"no such target: {request.text}")
            case WarmUp() if self.holds:
                await asyncio.Event().wait()
            case WarmUp():
                raise ComputeFailed("no searcher comes up")
        return None


class TuningService:
    """Serves while it is entered, with one device that has the `target`; `leave`: as a coordinator that leaves
    interrupted jobs alone."""

    def __init__(
        self, folder: Path, *, templates: Mapping[str, str] = TEMPLATES, leave: bool = False, target: str = TARGET
    ) -> None:
        self.address = ""
        self.interrupted: Sequence[str] = ()
        self.left: set[str] = set()  # what was still under way when it had stopped
        self.compute = PreparingCompute(templates)
        self._folder = folder
        self._target = target
        self._leave = leave
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Lets go of every job. May be called again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)

    def unplug(self) -> None:
        """The farm's only device goes away."""
        done: Future[None] = Future()

        def unplug() -> None:
            self._farm.detach(self._attachment)
            self._farm.attach(Hello("agent", "boot", (FarmDevice("gpu0", "f2", '{"kind": "cuda"}', name="board"),)))
            done.set_result(None)

        self._loop.call_soon_threadsafe(unplug)
        done.result(10)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._folder.mkdir(exist_ok=True)
        folders = Folders(self._folder)
        with Store.open(f"sqlite:///{self._folder / 'store.db'}") as store:
            # Its agent never says anything, and is there as long as a test wants it.
            self._farm = FarmControl(store.next_epoch(), policy=FarmPolicy(session_timeout=3600.0))
            compute = cast(ComputeClient, self.compute)
            artifacts = ArtifactStore(folders.artifacts)
            references = References(compute, artifacts)
            services = Services(store, compute, self._farm, artifacts, folders, FaultPoints(), references)
            await self._serve(services, ModelLibrary(folders, store))

    async def _serve(self, services: Services, library: ModelLibrary) -> None:
        intake = Intake(services, library)
        registry = JobRegistry(services, intake)
        device = FarmDevice("cpu0", "f1", self._target, name="bench", facts={"cpu": "zen"})
        self._attachment = self._farm.attach(Hello("agent", "boot", (device,)))
        self._farm.start()
        server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        servicer = TuningServicer(registry, Planner(services, intake), library, services.folders)
        cast(Any, tuning_pb2_grpc).add_TuningServiceServicer_to_server(servicer, server)
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        self.interrupted = await registry.recover(leave=self._leave)
        await server.start()
        self._ready.set_result(None)
        await self._stop.wait()
        await registry.stop()
        await self._farm.stop()
        await server.stop(0.5)
        coroutines = [task.get_coro() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        self.left = {str(coroutine) for coroutine in coroutines if inspect.iscoroutine(coroutine)}
