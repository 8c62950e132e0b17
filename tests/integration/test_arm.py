# These tests watch programs from outside: polling is what that takes.
# ruff: noqa: ASYNC110
"""A board with an ARM processor, emulated: cross-built kernels measured through the farm, with TVM's runtime alone."""

import asyncio
import contextlib
import gzip
import json
import os
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te

from tests.agent_process import EVALUATOR, AgentProcess, candidate, kind, npz, one_lease
from tests.arm_board import TARGET, ArmBoard, arm_board
from tests.debian_packages import Unavailable
from tests.farm_stand_in import FakeCoordinator
from tests.hostile_kernels import good
from tests.programs import agent, coordinator, document, tunefarm
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
        async with arm_agent(board, address, tmp_path / "state") as running:
            await known_device(home, address)
            options = ("--connect", address, "--target", "board", "--trials-per-kernel", "4", "--out", str(package))
            done = await told(home, "tune", str(model), *options, "--json")
            assert done.returncode == 0, done.stderr + running.log
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


@dataclass(frozen=True)
class Farm:
    """What one farm gave away. `target`: for whom it tuned, as its users say it."""

    target: str
    file: Path
    device_class: str
    records: dict[str, dict[str, Any]]

    @property
    def workloads(self) -> set[str]:
        return {record["workload"] for record in self.records.values()}


async def test_farms_of_two_kinds_merge_and_each_compile_has_its_own_schedules(board: ArmBoard, tmp_path: Path) -> None:
    """TVM's own database answers a query for one target with the other's record."""
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    homes = {name: tmp_path / name for name in ("x86", "arm", "both")}
    for home in homes.values():
        home.mkdir()
    with coordinator(homes["x86"]) as (_, address), agent(homes["x86"], address):
        x86 = await tuned(homes["x86"], address, model, "host")
    with coordinator(homes["arm"]) as (_, address):
        async with arm_agent(board, address, tmp_path / "state"):
            arm = await tuned(homes["arm"], address, model, TARGET)
    assert x86.workloads & arm.workloads, "no kernel is the same on both: there is nothing to mix up"
    assert x86.device_class != arm.device_class
    with coordinator(homes["both"]) as (_, address):
        here = (homes["both"], "--connect", address)
        for command, farm in (("import", x86), ("merge", arm)):
            taken = document(await said(*here, "schedules", command, str(farm.file)))
            assert (taken["added"], taken["refused"]["count"]) == (len(farm.records), 0)
        for farm, other in ((x86, arm), (arm, x86)):
            await check_own(here, model, farm, other, tmp_path / f"package-{farm.file.stem}")


async def tuned(home: Path, address: str, model: Path, target: str) -> Farm:
    """A small job on the farm's only device, and the export of all that came of it."""
    device_class = await known_device(home, address)
    options = ("--target", target, "--trials-per-kernel", "2", "--out", str(home / "package"))
    await said(home, "--connect", address, "tune", str(model), *options)
    file = home.with_suffix(".jsonl.gz")
    await said(home, "--connect", address, "schedules", "export", str(file))
    with gzip.open(file, "rt") as lines:
        items = [json.loads(line) for line in lines]
    return Farm(
        target, file, device_class, {item["record"]["id"]: item["record"] for item in items if "record" in item}
    )


async def check_own(here: tuple[Any, ...], model: Path, farm: Farm, other: Farm, package: Path) -> None:
    """What is found and compiled for the target of one farm has nothing of the other's."""
    target = ("--target", farm.target)
    found = document(await said(*here, "schedules", "top", str(model), *target, "-k", "100"))
    assert found["device_class"] == farm.device_class
    schedules = [(task["workload"], each) for task in found["tasks"] for each in task["schedules"]]
    assert {workload for workload, _ in schedules} & other.workloads
    for workload, schedule in schedules:
        record = farm.records[schedule["record_id"]]
        assert (workload, schedule["candidate_id"]) == (record["workload"], record["candidate"])
        assert json.loads(record["target"]) == json.loads(found["target"])
        assert schedule["record_id"] not in other.records
    # The other's devices, asked for by name, have no time for this target.
    elsewhere = document(await said(*here, "schedules", "best", str(model), *target, "--class", other.device_class))
    assert [task["schedules"] for task in elsewhere["tasks"]] == [[] for _ in elsewhere["tasks"]]
    compiled = document(await said(*here, "compile", str(model), *target, "--out", str(package)))
    manifest = json.loads((package / "manifest.json").read_text())
    assert manifest["device_class"] == farm.device_class
    best = {task["workload"]: task["schedules"][0]["candidate_id"] for task in compiled["tasks"]}
    assert best
    for task in manifest["tasks"]:
        if task["schedule"] == "tuned":
            assert task["record"] == best[task["workload"]]
    elf = machine_of((package / manifest["library"]).read_bytes())
    assert (elf == ELF_AARCH64, manifest["checked_here"]) == (farm.target == TARGET, farm.target != TARGET)


async def known_device(home: Path, address: str) -> str:
    """The class of the farm's only device, once it is there."""
    async with asyncio.timeout(90):
        while not (devices := document(await told(home, "devices", "--connect", address, "--json"))["devices"]):
            await asyncio.sleep(0.5)
    return str(devices[0]["device_class"])


async def said(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`--connect ADDRESS command ...`, which has to end well; its answer is JSON."""
    connect, address, *command = arguments
    done = await told(home, *command, connect, address, "--json")
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done


async def told(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(tunefarm, home, *arguments)
