"""How a GPU ran, and who else used it, travels with every outcome of a lease."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from tests.unit.agent.fake_nvml import FakeNvml
from tunefarm_agent.artifacts import Artifacts
from tunefarm_agent.benchmark import Benchmark
from tunefarm_agent.commands import Place
from tunefarm_agent.devices import OwnDevice
from tunefarm_agent.gate import NoGate
from tunefarm_agent.gpu_watch import GpuWatch
from tunefarm_agent.leases import LeaseRunner
from tunefarm_agent.nvidia import Gpu
from tunefarm_agent.results import Measured, ReferenceTime, Result
from tunefarm_agent.stand import Stand
from tunefarm_proto.v1 import common_pb2, farm_pb2

OURS, THEIRS = 101, 4242


class FakeStand:
    """Measures at once, and says whether a lease was at work meanwhile."""

    @contextlib.asynccontextmanager
    async def set_up(self, _limit: float) -> AsyncIterator[Path]:
        yield Path()

    async def run(self, *_: Any) -> Result:
        return Measured((1e-5,), 1, 0.0)

    async def time_reference(self, *_: Any) -> ReferenceTime:
        return ReferenceTime((2e-5,))


async def test_an_outcome_carries_clocks_throttling_and_strangers() -> None:
    nvml = FakeNvml()
    nvml.processes, nvml.shares, nvml.moment, nvml.reasons = [OURS, THEIRS], {THEIRS: 40}, 5, 0x4
    gpu = Gpu(0, "GPU-1", "NVIDIA Fake", (9, 0), 80 << 30)
    watch = GpuWatch(gpu, own=lambda: (OURS,), nvml=nvml, alive=lambda _: True)
    described = common_pb2.Device(device_id="cuda0")
    device = OwnDevice(described, Place("cuda", gpu=gpu.uuid), (0,), 0, False, lambda: 71.0, watch)
    nothing = cast(object, None)
    runner = LeaseRunner(device, cast(Stand, FakeStand()), cast(Artifacts, nothing), NoGate(), cast(Benchmark, nothing))
    candidate = farm_pb2.Candidate(artifact="sha256:a")
    work = farm_pb2.MeasureWork(candidates=[candidate], reference=candidate)
    reports: list[farm_pb2.OutcomeReport] = []

    async def report(_index: int, outcome: farm_pb2.OutcomeReport) -> None:
        reports.append(outcome)

    await runner.run(farm_pb2.Lease(lease_id="l", measure=work), {"sha256:a": Path("a.so")}, report)
    (outcome,) = reports
    conditions = outcome.conditions
    assert (conditions.temperature, conditions.sm_clock_mhz, conditions.throttle_reasons) == (71.0, 1980, 0x4)
    assert (conditions.strangers, conditions.disturbed) == (1, True)
    assert conditions.reference_seconds == 2e-5
