"""Leases on a GPU that is fake and has memory of its own: the agent, its sessions and TVM's CUDA runtime are real."""

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from tests.agent_process import (
    EVALUATOR,
    SHAPE,
    AgentProcess,
    candidate,
    expected,
    kind,
    measure,
    measure_all,
    none_left,
    npz,
    one_lease,
    start_agent,
)
from tests.fake_cuda import CELSIUS, NAME, FakeCuda
from tests.farm_stand_in import FakeCoordinator
from tests.hostile_kernels import good as good_on_cpu
from tunefarm_coordinator.models.target import resolve_target
from tunefarm_proto.v1 import common_pb2, farm_pb2

GPU = "cuda0"
MIB = 1 << 20


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> FakeCuda:
    return FakeCuda(tmp_path_factory.mktemp("host") / "gpu")


@pytest.fixture
def gpu(host: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """This host's, in good health."""
    host.mend()
    for name, value in host.environment().items():
        monkeypatch.setenv(name, value)
    return host


@pytest.fixture(scope="module")
def kernels(host: FakeCuda, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The libraries of `fake_cuda.kernels`, by name."""
    folder = tmp_path_factory.mktemp("kernels")
    subprocess.run(
        [sys.executable, "-m", "tests.fake_cuda.kernels", str(folder)], env=host.environment(), check=True, timeout=120
    )
    return {path.stem: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
async def agent(
    farm: FakeCoordinator,
    gpu: FakeCuda,  # noqa: ARG001  (in the environment that the agent is started in)
    tmp_path: Path,
) -> AsyncIterator[AgentProcess]:
    agent = await start_agent(farm.address, tmp_path / "state", "--device", GPU)
    try:
        await farm.attached()
        yield agent
    finally:
        await agent.killed()


@pytest.mark.usefixtures("gpu")
async def test_the_agent_says_what_gpu_it_has(farm: FakeCoordinator, tmp_path: Path) -> None:
    agent = await start_agent(farm.address, tmp_path / "state", "--label", "cuda0/rack=7")
    try:
        await farm.attached()
        cpu, gpu = farm.hellos[0].devices
        assert (cpu.device_id, gpu.device_id, gpu.name) == ("cpu0", GPU, NAME)
        assert set(cpu.cores) < os.sched_getaffinity(0) or len(os.sched_getaffinity(0)) == 1
        assert dict(gpu.labels) == {"rack": "7"}
        target = json.loads(resolve_target(gpu.target))
        assert (target["kind"], target["arch"], target["thread_warp_size"]) == ("cuda", "sm_90", 32)
        await farm.until(lambda: bool(farm.heartbeats))
        assert farm.heartbeats[-1].temperatures[GPU] == CELSIUS
    finally:
        await agent.killed()


async def test_right_and_wrong_kernels_are_measured(
    farm: FakeCoordinator, agent: AgentProcess, gpu: FakeCuda, kernels: dict[str, bytes]
) -> None:
    names = ("good", "wrong", "astray", "spacious")
    measure(farm, "a", *(kernels[name] for name in names), good_on_cpu(), kernels["good"], device=GPU)
    reports = await farm.reports("a", 6, 60)
    kinds = ["measured", "WRONG_OUTPUT", "RUN_ERROR", "measured", "RUN_ERROR", "measured"]
    assert list(map(kind, reports)) == kinds, [report.failed for report in reports] + [agent.log]
    assert reports[0].measured.max_rel_error == 0.0
    assert len(reports[0].measured.seconds) == 3
    assert "illegal memory access" in reports[2].failed.message
    # It takes the device's memory for its own.
    assert "SIGSEGV" in reports[4].failed.message
    assert reports[0].conditions.temperature == CELSIUS
    assert gpu["to_device"] > 0
    assert gpu["from_device"] > 0
    # What an output held before is spoilt on the device itself.
    assert gpu["on_device"] > 0
    await none_left(agent)


@pytest.mark.usefixtures("agent")
async def test_verifies_calibrates_and_compares(farm: FakeCoordinator, kernels: dict[str, bytes]) -> None:
    checks = [expected(farm, 0), expected(farm, 1)]
    right, wrong = candidate(farm, kernels["good"]), candidate(farm, kernels["wrong"])
    one_lease(farm, "v", device=GPU, verify=farm_pb2.VerifyWork(candidates=[right, wrong], expected=checks))
    one_lease(farm, "k", device=GPU, calibrate=farm_pb2.CalibrateWork(reference=right, evaluator=EVALUATOR))
    group = farm_pb2.CompareGroup(candidates=[right, wrong, candidate(farm, kernels["spacious"])], expected=checks)
    one_lease(farm, "c", device=GPU, compare=farm_pb2.CompareWork(groups=[group], evaluator=EVALUATOR, rounds=2))
    assert list(map(kind, await farm.reports("v", 2, 60))) == ["measured", "WRONG_OUTPUT"]
    (calibrated,) = await farm.reports("k", 1, 60)
    assert calibrated.conditions.reference_seconds > 0
    (compared,) = await farm.reports("c", 1, 60)
    first, second, third = compared.compared.items
    assert len(first.measured.seconds) == len(third.measured.seconds) == 6
    # By way of an intermediate result takes longer, on any device.
    assert min(third.measured.seconds) > max(first.measured.seconds)
    assert second.failed.kind == common_pb2.FAILURE_KIND_WRONG_OUTPUT


async def test_a_device_that_falls_off_its_bus_in_mid_lease_costs_no_candidate_and_comes_back(
    farm: FakeCoordinator, agent: AgentProcess, gpu: FakeCuda, kernels: dict[str, bytes]
) -> None:
    measure(farm, "before", kernels["good"], device=GPU)
    await farm.reports("before", 1, 60)
    gpu["error_at_launch"] = gpu["launches"] + 1
    # Alone in its session, so that nothing but the device tells who is to blame.
    measure(farm, "a", kernels["good"], kernels["good"], device=GPU)
    ending = await farm.finished("a", 90)
    assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST
    assert "the device does not work" in ending.failure.message, agent.log
    assert "busy or unavailable" in ending.failure.message
    assert farm.outcomes["a"] == []
    gpu.mend()
    measure(farm, "after", kernels["good"], device=GPU)
    assert kind((await farm.reports("after", 1, 60))[0]) == "measured"


@pytest.mark.usefixtures("agent")
async def test_out_of_memory_is_the_candidates_failure_where_the_device_had_room(
    farm: FakeCoordinator, gpu: FakeCuda, kernels: dict[str, bytes]
) -> None:
    gpu["memory"] = 4 * MIB
    large = farm_pb2.Candidate(
        artifact=farm.put(kernels["good"]),
        arguments=[farm_pb2.KernelArgument(shape=(2048, 1024), dtype="float32")] * 2,
        run_timeout=20.0,
    )
    measure_all(farm, "a", [candidate(farm, kernels["spacious"]), candidate(farm, kernels["good"])], device=GPU)
    unchecked = farm_pb2.MeasureWork(candidates=[large], evaluator=EVALUATOR)
    one_lease(farm, "b", device=GPU, measure=unchecked)
    workspace, fits = await farm.reports("a", 2, 60)
    assert (kind(workspace), kind(fits)) == ("RUN_ERROR", "measured")
    # A session that ends meanwhile may hold a last trifle.
    assert re.search(r"(4\.0|3\.9) MiB of the device's 4\.0 MiB are free", workspace.failed.message)
    (arguments,) = await farm.reports("b", 1, 60)
    assert kind(arguments) == "RUN_ERROR"
    assert re.search(
        r"takes at least 16\.0 MiB, and (4\.0|3\.9) MiB of the device's 4\.0 MiB are free", arguments.failed.message
    )


async def test_memory_that_others_hold_is_no_candidates_fault(
    farm: FakeCoordinator, agent: AgentProcess, gpu: FakeCuda, kernels: dict[str, bytes]
) -> None:
    gpu["memory"], gpu["others"] = 64 * MIB, 60 * MIB
    measure(farm, "a", kernels["spacious"], device=GPU)
    ending = await farm.finished("a", 90)
    assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST, agent.log
    assert "others hold the device's memory: 4.0 MiB of the device's 64.0 MiB are free" in ending.failure.message
    assert farm.outcomes["a"] == []
    gpu["others"] = 0
    measure(farm, "b", kernels["spacious"], device=GPU)
    assert kind((await farm.reports("b", 1, 60))[0]) == "measured"


async def test_a_broken_reference_kernel_is_the_devices_fault(
    farm: FakeCoordinator, agent: AgentProcess, kernels: dict[str, bytes]
) -> None:
    checks = [expected(farm, 0)]
    work = farm_pb2.MeasureWork(
        candidates=[candidate(farm, kernels["good"])],
        evaluator=EVALUATOR,
        expected=checks,
        reference=candidate(farm, kernels["astray"]),
        reference_evaluator=EVALUATOR,
    )
    one_lease(farm, "a", device=GPU, measure=work)
    ending = await farm.finished("a", 60)
    assert ending.device_failed, agent.log
    assert "illegal memory access" in ending.failure.message
    assert farm.outcomes["a"] == []
    work.reference.CopyFrom(work.candidates[0])
    one_lease(farm, "b", device=GPU, measure=work)
    (report,) = await farm.reports("b", 1, 60)
    assert report.conditions.reference_seconds > 0


_STRANGER = """
import ctypes, sys
pointer = ctypes.c_void_p()
assert ctypes.CDLL("libcudart.so.13").cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(1 << 20)) == 0
print("there", flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("agent")
async def test_outcomes_say_how_the_gpu_ran_and_that_others_were_there(
    farm: FakeCoordinator, kernels: dict[str, bytes]
) -> None:
    # The session of the test before may be ending still.
    await farm.until(lambda: bool(farm.heartbeats) and not farm.heartbeats[-1].shared[GPU].by, 30)
    # However short: the agent looks while its session is there, and learns which processes are its own.
    measure(farm, "alone", kernels["good"], device=GPU)
    (alone,) = await farm.reports("alone", 1, 60)
    assert (alone.conditions.sm_clock_mhz, alone.conditions.memory_clock_mhz) == (1980, 2619)
    assert alone.conditions.throttle_reasons == 0
    assert alone.conditions.strangers == 0
    pipe = asyncio.subprocess.PIPE
    stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", _STRANGER, stdin=pipe, stdout=pipe)
    try:
        assert stranger.stdout is not None
        assert await stranger.stdout.readline() == b"there\n"
        await farm.until(lambda: f"pid {stranger.pid}" in "".join(h.shared[GPU].by for h in farm.heartbeats[-1:]), 30)
        measure(farm, "shared", kernels["good"], device=GPU)
        (shared,) = await farm.reports("shared", 1, 60)
        assert shared.conditions.strangers == 1
    finally:
        stranger.kill()
        await stranger.wait()


def benchmark(farm: FakeCoordinator, lease_id: str, model: bytes) -> None:
    spec = common_pb2.TensorSpec(name="x", shape=[SHAPE[1]], dtype="float32")
    tvm_runtime = farm_pb2.ModelContender.RUNTIME_TVM
    contender = farm_pb2.ModelContender(
        name="model", runtime=tvm_runtime, artifact=farm.put(model), inputs=[spec], run_timeout=20, report_outputs=True
    )
    inputs = farm.put(npz(s0_inx=np.arange(SHAPE[1], dtype=np.float32)))
    work = farm_pb2.BenchmarkWork(contenders=[contender], inputs=inputs, input_sets=1, rounds=2, calls_per_round=3)
    one_lease(farm, lease_id, device=GPU, benchmark=work)


async def test_whole_models_are_timed_and_may_be_too_large(
    farm: FakeCoordinator, agent: AgentProcess, gpu: FakeCuda, kernels: dict[str, bytes]
) -> None:
    benchmark(farm, "fits", kernels["model"])
    ((timing,),) = [report.benchmark.timings for report in await farm.reports("fits", 1, 60)]
    assert len(timing.measured.seconds) == 2, timing.failed
    outputs = np.load(io.BytesIO(farm.artifacts[timing.outputs_digest]))
    np.testing.assert_array_equal(outputs["s0_out0"], np.arange(SHAPE[1]) + (4 * MIB) // SHAPE[1])
    gpu["memory"] = 8 * MIB
    benchmark(farm, "large", kernels["model"])
    ((timing,),) = [report.benchmark.timings for report in await farm.reports("large", 1, 60)]
    assert timing.HasField("failed"), agent.log
    assert "it takes at least 16.0 MiB, and 8.0 MiB of the device's 8.0 MiB are free" in timing.failed.message
    gpu["memory"], gpu["others"] = 64 * MIB, 60 * MIB
    benchmark(farm, "taken", kernels["model"])
    ending = await farm.finished("taken", 60)
    assert ending.device_failed
    assert "others hold the device's memory: 4.0 MiB of the device's 64.0 MiB are free" in ending.failure.message
    gpu.mend()
    gpu["error_at_launch"] = 2
    benchmark(farm, "fell", kernels["model"])
    ending = await farm.finished("fell", 60)
    assert ending.device_failed
    assert "busy or unavailable" in ending.failure.message
    assert farm.outcomes["taken"] == farm.outcomes["fell"] == []
    await none_left(agent)
