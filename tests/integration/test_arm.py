# These tests watch programs from outside: polling is what that takes.
# ruff: noqa: ASYNC110
"""A board with an ARM processor, emulated: cross-built kernels measured through the farm, with TVM's runtime alone."""

import asyncio
import contextlib
import json
import os
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import te

from tests.agent_process import EVALUATOR, AgentProcess, candidate, kind, npz, one_lease
from tests.arm_board import TARGET, ArmBoard, arm_board
from tests.debian_packages import Unavailable
from tests.farm_stand_in import FakeCoordinator
from tests.hostile_kernels import good
from tests.programs import coordinator, document, tunefarm
from tests.tiny_models import save_tiny_cnn
from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.candidate import BuiltCandidate
from tunefarm_coordinator.engines.reference_kernel import CPU_EDGE, build_reference
from tunefarm_proto.v1 import farm_pb2

# The first run on a machine fetches the board: 300 MB.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ELF_AARCH64 = 183
_MULTIPLY = """
import sys, numpy as np, tvm
a, b = (np.random.default_rng(seed).random(({edge}, {edge}), dtype=np.float32) for seed in (0, 1))
out = tvm.runtime.empty(a.shape, "float32")
tvm.runtime.load_module(sys.argv[1])["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), out)
np.testing.assert_allclose(out.numpy(), a @ b, rtol=1e-5)
print(np.abs(out.numpy() - a @ b).max())
"""


@pytest.fixture(scope="module")
def board() -> Iterator[ArmBoard]:
    """The board, and its linker on the builder's path."""
    try:
        board = arm_board()
    except Unavailable as error:
        pytest.skip(f"no emulated board: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{board.linker}:{os.environ['PATH']}")
        yield board


@contextlib.asynccontextmanager
async def arm_agent(board: ArmBoard, address: str, state_dir: Path) -> AsyncIterator[AgentProcess]:
    """The agent as its owner starts it on the board, its target told: the emulator shows the host's /proc/cpuinfo."""
    log = state_dir.with_suffix(".log")
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(board.python, "-m", "tunefarm_agent", "run", "--connect", address, "--state-dir", state_dir),
            *("--target", TARGET, "--device-name", "board", "--cores", "0", "--json-logs"),
            env=board.environment,
            stdout=file,
            stderr=file,
        )
    agent = AgentProcess(process, state_dir, log)
    try:
        yield agent
    finally:
        await agent.killed()


def endless() -> BuiltCandidate:
    """A kernel that adds for minutes, under emulation."""
    data = te.placeholder((64, 64), name="data")
    k = te.reduce_axis((0, 1 << 20), name="k")
    total = te.compute((64, 64), lambda i, j: te.sum(data[i, j] * k.astype("float32"), axis=k), name="total")
    module = tvm.IRModule({"main": te.create_prim_func([data, total]).with_attr("global_symbol", "main")})
    return build_candidate(str(tvm.ir.save_json(module)), "[[],[]]", TARGET)


def machine_of(library: bytes) -> int:
    """ELF's e_machine."""
    (machine,) = struct.unpack_from("<H", library, 18)
    return int(machine)


def test_a_cross_built_kernel_computes_what_numpy_does(board: ArmBoard, tmp_path: Path) -> None:
    library = tmp_path / "kernel.so"
    library.write_bytes(build_reference(TARGET).library)
    assert machine_of(library.read_bytes()) == ELF_AARCH64
    done = subprocess.run(
        [board.python, "-c", _MULTIPLY.format(edge=CPU_EDGE), library],
        env={**board.environment, "TVM_USE_RUNTIME_LIB": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_the_board_has_no_compiler_and_no_ray(board: ArmBoard) -> None:
    site = Path(board.environment["PYTHONPATH"].split(":")[0])
    assert list(site.rglob("libtvm_runtime.so"))
    assert not list(site.rglob("libtvm_compiler*"))
    done = subprocess.run([board.python, "-c", "import ray"], env=board.environment, capture_output=True, check=False)
    assert b"ModuleNotFoundError" in done.stderr


async def test_candidates_are_measured_and_bad_ones_cost_themselves_alone(board: ArmBoard, tmp_path: Path) -> None:
    shape = (CPU_EDGE, CPU_EDGE)
    a, b = (np.random.default_rng(seed).random(shape, dtype=np.float32) for seed in (0, 1))
    argument = farm_pb2.KernelArgument(shape=shape, dtype="float32")
    async with FakeCoordinator() as farm, arm_agent(board, farm.address, tmp_path / "state") as agent:
        await farm.until(lambda: bool(farm.hellos), 60)
        (device,) = farm.hellos[0].devices
        assert device.facts["architecture"] == "aarch64"
        honest = farm_pb2.Candidate(
            artifact=farm.put(build_reference(TARGET).library), arguments=[argument] * 3, run_timeout=60
        )
        work = farm_pb2.MeasureWork(candidates=[honest], evaluator=EVALUATOR)
        work.expected.add(artifact=farm.put(npz(arg0=a, arg1=b, out0=a @ b)), rtol=1e-5, atol=1e-6)
        one_lease(farm, "honest", 300.0, measure=work)
        (report,) = await farm.reports("honest", 1, 120)
        assert kind(report) == "measured", agent.log
        assert report.measured.max_rel_error < 1e-5

        bad = [candidate(farm, good()), candidate(farm, endless().library, 3.0)]
        one_lease(farm, "bad", 300.0, measure=farm_pb2.MeasureWork(candidates=bad, evaluator=EVALUATOR))
        one_lease(farm, "after", 300.0, measure=farm_pb2.MeasureWork(candidates=[honest], evaluator=EVALUATOR))
        # An x86 library can't be loaded; what never ends is killed; the next lease is served.
        assert [kind(each) for each in await farm.reports("bad", 2, 120)] == ["LOAD_ERROR", "RUN_TIMEOUT"]
        assert [kind(each) for each in await farm.reports("after", 1, 120)] == ["measured"]
        agent.process.terminate()
        assert await agent.ended(60) == 0


async def test_a_model_is_tuned_for_the_board(board: ArmBoard, tmp_path: Path) -> None:
    home, package = tmp_path / "home", tmp_path / "package"
    home.mkdir()
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    with coordinator(home) as (_, address):
        async with arm_agent(board, address, tmp_path / "state") as agent:
            async with asyncio.timeout(60):
                while "board" not in (await told(home, "devices", "--connect", address, "--json")).stdout:
                    await asyncio.sleep(0.5)
            options = ("--connect", address, "--target", "board", "--trials-per-kernel", "4", "--out", str(package))
            done = await told(home, "tune", str(model), *options, "--json")
            assert done.returncode == 0, done.stderr + agent.log
    result = document(done)
    assert result["state"] == "SUCCEEDED"
    assert result["trials"]["valid"] == result["trials"]["charged"] > 0
    assert result["max_rel_error"] < 1e-3
    assert result["latency_ms"]["tuned"] > 0
    # Not on the board, and no reason for the job to fail.
    assert result["latency_ms"].get("onnxruntime") is None
    manifest = json.loads((package / "manifest.json").read_text())
    assert manifest["target"]["mcpu"] == "cortex-a72"
    assert machine_of((package / manifest["library"]).read_bytes()) == ELF_AARCH64


async def told(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(tunefarm, home, *arguments)
