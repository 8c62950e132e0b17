# These tests watch other processes from outside: polling and small files are what that takes.
# ruff: noqa: ASYNC110
"""The coordinator's real farm and a real agent: what a job, or a person who drains a device, may count on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from tests.agent_process import EVALUATOR, SHAPE, at_once_anew, expected_blob, start_agent
from tests.hostile_kernels import good, hostile
from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.maintenance import Maintenance
from tunefarm_coordinator.farm.messages import Deliver, ItemLost, Reference, Suspected, Unserved, Work, WorkKind
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.farm.views import DeviceState
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.farm import FarmServicer
from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc

TARGET = '{"kind": "llvm"}'


class Farm:
    """A served farm with one agent; outcomes by work id, in the order of their coming."""

    def __init__(self, control: FarmControl, maintenance: Maintenance, artifacts: ArtifactStore, address: str) -> None:
        self.control = control
        self.maintenance = maintenance
        self.artifacts = artifacts
        self.address = address
        self.came: dict[str, list[tuple[Deliver, farm_pb2.OutcomeReport]]] = {}
        self.lost: list[ItemLost] = []
        self.suspected: list[Suspected] = []
        self.unserved: list[Unserved] = []

    def candidate(self, kernel: bytes, timeout: float = 60.0) -> farm_pb2.Candidate:
        argument = farm_pb2.KernelArgument(shape=SHAPE, dtype="float32")
        digest = self.artifacts.put(kernel, "test")
        return farm_pb2.Candidate(artifact=digest, arguments=[argument] * 2, run_timeout=timeout)

    def measure(
        self, name: str, *kernels: bytes, job: str = "job", calibrated: bool = False, reference_kernel: bytes = b""
    ) -> None:
        """Submit a batch of these kernels as work `name`; `calibrated`: with an honest reference kernel, unless another
        is given."""
        expected = self.artifacts.put(expected_blob(0), "test")
        batch = farm_pb2.MeasureWork(
            candidates=[self.candidate(kernel) for kernel in kernels],
            evaluator=EVALUATOR,
            expected=[farm_pb2.ExpectedOutputs(artifact=expected, rtol=1e-3, atol=1e-6)],
        )
        work = Work(name, job, TARGET, len(kernels), WorkKind.MEASURE, 120.0, payload=farm_pb2.Lease(measure=batch))
        if calibrated:
            kernel = farm_pb2.CalibrateWork(
                reference=self.candidate(reference_kernel or good()), evaluator=farm_pb2.Evaluator(number=10, repeat=5)
            )
            batch.reference.CopyFrom(kernel.reference)
            batch.reference_evaluator.CopyFrom(kernel.evaluator)
            reference = Reference(kernel.reference.artifact, farm_pb2.Lease(calibrate=kernel))
            work = replace(work, reference=reference, payload=farm_pb2.Lease(measure=batch))

        async def outcome(delivered: Deliver, report: farm_pb2.OutcomeReport) -> None:
            self.came.setdefault(name, []).append((delivered, report))

        async def on_lost(item: ItemLost) -> None:
            self.lost.append(item)

        async def on_suspected(suspicion: Suspected) -> None:
            self.suspected.append(suspicion)

        self.control.submit(work, outcome, on_lost, on_suspected=on_suspected, on_unserved=self.unserved.append)

    async def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> float:
        """Seconds that it took."""
        started = time.monotonic()
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
        return time.monotonic() - started

    def running(self) -> str:
        return next((view.running for view in self.control.snapshot()), "")

    def state(self) -> DeviceState:
        return next(view.state for view in self.control.snapshot())


@asynccontextmanager
async def served(folder: Path, policy: FarmPolicy | None = None) -> AsyncIterator[Farm]:
    control = FarmControl(1, policy=policy)
    artifacts = ArtifactStore(folder / "artifacts")
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    with Store.open(f"sqlite:///{folder / 'farm.db'}") as store:
        maintenance = Maintenance(control, store)
        await maintenance.recover()
        farm_pb2_grpc.add_FarmServiceServicer_to_server(FarmServicer(control, artifacts, maintenance), server)
        port = server.add_insecure_port("127.0.0.1:0")
        control.start()
        await server.start()
        try:
            yield Farm(control, maintenance, artifacts, f"127.0.0.1:{port}")
        finally:
            await control.stop()
            await maintenance.stop()
            await server.stop(0)


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    async with served(tmp_path) as served_farm:
        agent = await start_agent(served_farm.address, tmp_path / "state", "--target", TARGET, "--agent-id", "board")
        try:
            await served_farm.until(lambda: bool(served_farm.control.devices()))
            yield served_farm
        finally:
            await agent.killed()


async def test_a_cancelled_job_frees_its_device_within_two_seconds(farm: Farm) -> None:
    farm.measure("long", hostile("loops_deaf"), job="cancelled")
    await farm.until(lambda: farm.running() == "measure long")
    farm.measure("next", good(), job="other")
    await asyncio.sleep(1.0)  # the candidate runs by now
    farm.control.withdraw_job("cancelled")
    freed = await farm.until(lambda: "next" in farm.came)
    print(f"from the cancel to the next job's first outcome: {freed:.2f} s")
    assert freed < await at_once_anew()
    assert "long" not in farm.came


async def test_a_drained_device_ends_what_it_runs_and_begins_nothing_until_it_is_resumed(farm: Farm) -> None:
    farm.measure("first", *[good()] * 3)
    farm.measure("second", good())
    await farm.until(lambda: farm.running() == "measure first")
    assert await farm.maintenance.drain("board", "", "new fan") == [("board", "cpu0")]
    await farm.until(lambda: len(farm.came.get("first", ())) == 3)
    await asyncio.sleep(1.0)
    assert "second" not in farm.came
    assert farm.state() is DeviceState.DRAINING
    await farm.maintenance.resume("board", "cpu0")
    await farm.until(lambda: "second" in farm.came)
    assert farm.lost == []


async def test_outcomes_come_with_the_reference_kernels_time(farm: Farm) -> None:
    for number in range(3):
        farm.measure(f"batch{number}", *[good()] * 4, calibrated=True)
    await farm.until(lambda: sum(len(each) for each in farm.came.values()) == 12)
    for _, report in farm.came["batch0"]:
        assert 0 < report.conditions.reference_seconds < 0.01
    (view,) = farm.control.snapshot()
    assert view.reference_seconds
    assert 0 <= view.reference_seconds < 0.01
    assert farm.lost == []


async def test_a_device_with_a_broken_reference_kernel_rests_says_why_and_costs_no_candidate(farm: Farm) -> None:
    farm.measure("batch", good(), good(), calibrated=True, reference_kernel=hostile("segfault"))
    await farm.until(lambda: farm.state() is DeviceState.QUARANTINED, 60)
    (view,) = farm.control.snapshot()
    assert "its reference kernel can't be timed, not even in a fresh session: RUN_ERROR" in view.reason
    assert "tried again in 30 s" in view.reason
    assert (farm.came, farm.lost, farm.suspected, view.measured) == ({}, [], [], 0)
    await farm.until(lambda: farm.control.waiting == 1)


async def test_work_that_only_a_broken_device_could_do_is_told_so(tmp_path: Path) -> None:
    async with served(tmp_path, FarmPolicy(quarantine=0.1, hopeless=2)) as farm:
        agent = await start_agent(farm.address, tmp_path / "state", "--target", TARGET, "--agent-id", "board")
        try:
            farm.measure("batch", good(), calibrated=True, reference_kernel=hostile("segfault"))
            await farm.until(lambda: bool(farm.unserved), 60)
            farm.control.withdraw(["batch"])
        finally:
            await agent.killed()
    assert farm.unserved[0].work_id == "batch"
    assert "board/cpu0 rested 2 times in vain: its reference kernel can't be timed" in farm.unserved[0].reason
    assert (farm.came, farm.lost) == ({}, [])
