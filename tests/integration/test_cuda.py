"""CUDA up to the device call: kernels compiled on a machine without a GPU, and an agent that has one which is fake."""

import asyncio
import json
import os
import platform
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, measure, start_agent
from tests.fake_gpu_agent import FakeGpuAgent
from tests.fake_nvidia_driver import CELSIUS, NAME, build_fake_nvidia_driver
from tests.farm_stand_in import FakeCoordinator
from tests.hostile_kernels import good
from tests.programs import coordinator, document, tunefarm
from tests.tiny_models import save_tiny_cnn
from tunefarm_agent.detection import proposed_target, this_cpu
from tunefarm_agent.nvidia import Gpu
from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.cuda import options
from tunefarm_coordinator.engines.cuda.options import CompilerName, CudaOptions
from tunefarm_coordinator.engines.engine import engine
from tunefarm_coordinator.engines.reference_kernel import build_reference
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import PreparedModel, prepare
from tunefarm_coordinator.models.target import resolve_target
from tunefarm_proto.v1 import common_pb2

TARGET = resolve_target(
    json.dumps(Gpu(0, "", "", (9, 0), 80 << 30).target(proposed_target(platform.machine(), this_cpu(), 1)))
)
ELF = b"\x7fELF"

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here: CUDA's toolkit is not installed")


def carries_machine_code(library: bytes) -> bool:
    """For the GPU, in the library for the host; not the source of its kernels."""
    return ELF in library[4:] and b"sm_90" in library and b"__global__" not in library


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    folder = tmp_path_factory.mktemp("cuda")
    model = save_tiny_cnn(folder / "tiny.onnx")
    return prepare(model, {"image": (1, 3, 16, 16)}, TARGET, folder / "prepared")


@pytest.mark.parametrize("compiler", ["nvrtc", pytest.param("nvcc", marks=needs_nvcc)])
def test_candidates_are_proposed_and_compiled_without_a_gpu(
    prepared: PreparedModel, compiler: CompilerName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "current", lambda: CudaOptions(compiler))
    task = prepared.tasks[0]
    search = engine("autoscheduler").open(task.workload, task.module, TARGET, seed=1)
    proposals = search.propose(3, None)
    assert len(proposals) == 3
    for trace in (*(proposal.trace for proposal in proposals), default_trace(task.module, TARGET)):
        built = build_candidate(task.module, trace, TARGET)
        assert carries_machine_code(built.library)
        assert built.library == build_candidate(task.module, trace, TARGET).library


def test_a_package_for_a_gpu(prepared: PreparedModel, tmp_path: Path) -> None:
    package = build_untuned(prepared.directory, tmp_path / "package")
    assert carries_machine_code(package.library.read_bytes())
    assert len(package.untuned) > len(prepared.tasks)


@pytest.fixture
async def agent(farm: FakeCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AgentProcess]:
    """An agent on a host with the fake driver."""
    driver = tmp_path / "driver"
    driver.mkdir()
    build_fake_nvidia_driver(driver)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{driver}:{os.environ.get('LD_LIBRARY_PATH', '')}")
    agent = await start_agent(farm.address, tmp_path / "state", "--label", "cuda0/rack=7")
    try:
        await farm.attached()
        yield agent
    finally:
        await agent.killed()


@pytest.mark.usefixtures("agent")
async def test_the_agent_says_what_gpu_it_has(farm: FakeCoordinator) -> None:
    cpu, gpu = farm.hellos[0].devices
    assert (cpu.device_id, gpu.device_id, gpu.name) == ("cpu0", "cuda0", NAME)
    assert set(cpu.cores) < os.sched_getaffinity(0) or len(os.sched_getaffinity(0)) == 1
    assert dict(gpu.labels) == {"rack": "7"}
    target = json.loads(resolve_target(gpu.target))
    assert (target["kind"], target["arch"], target["thread_warp_size"]) == ("cuda", "sm_90", 32)
    await farm.until(lambda: bool(farm.heartbeats))
    assert farm.heartbeats[-1].temperatures["cuda0"] == CELSIUS


async def test_a_gpu_that_does_not_answer_is_lost_and_costs_no_candidate(
    farm: FakeCoordinator, agent: AgentProcess
) -> None:
    measure(farm, "gpu", build_reference(TARGET).library, device="cuda0")
    measure(farm, "cpu", good())
    ending = await farm.finished("gpu", 60)
    assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST
    assert "the device does not work" in ending.failure.message, agent.log
    assert "CUDA" in ending.failure.message
    assert farm.outcomes["gpu"] == []
    assert await farm.reports("cpu", 1, 60)


async def test_a_job_for_a_gpu_goes_through_the_coordinator(tmp_path: Path) -> None:
    """The agent is a fake and so are its times; search, builds, package and the check of its outputs are real."""
    home = tmp_path / "home"
    home.mkdir()
    model, package = save_tiny_cnn(tmp_path / "tiny.onnx"), tmp_path / "package"
    with coordinator(home) as (_, address):
        async with FakeGpuAgent(address, TARGET) as fake:
            options = (
                "--connect",
                address,
                "--target",
                "cuda",
                "--trials-per-kernel",
                "4",
                "--out",
                str(package),
                "--json",
            )
            done = await asyncio.to_thread(tunefarm, home, "tune", str(model), *options, timeout=120)
    assert done.returncode == 0, done.stderr
    result = document(done)
    assert result["state"] == "SUCCEEDED"
    assert result["trials"]["charged"] == result["trials"]["valid"] > 0
    assert len(fake.measured) >= result["trials"]["charged"]
    assert all(carries_machine_code(library) for library in fake.measured)
    manifest = json.loads((package / "manifest.json").read_text())
    assert manifest["target"]["kind"] == "cuda"
    assert carries_machine_code((package / manifest["library"]).read_bytes())
