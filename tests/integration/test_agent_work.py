# Small files and processes are what the tests watch.
# ruff: noqa: ASYNC110, ASYNC240
"""A real agent process against the fake coordinator: every kind of work, on kernels and models built by TVM."""

import asyncio
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
import tvm
from onnx import TensorProto, numpy_helper
from onnx import helper as onnx_helper
from tvm import relax, te

from tests.agent_process import (
    EVALUATOR,
    AgentProcess,
    candidate,
    expected,
    kind,
    measure,
    none_left,
    npz,
    one_lease,
    start_agent,
)
from tests.farm_stand_in import FakeCoordinator
from tests.hostile_kernels import good, hostile, library
from tunefarm_agent.commands import Place
from tunefarm_agent.stand import Stand
from tunefarm_agent.supervised import Household, SupervisedProcess
from tunefarm_proto.v1 import common_pb2, farm_pb2

TARGET = {"kind": "llvm", "num-cores": 2}


@pytest.fixture
async def agent(farm: FakeCoordinator, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    agent = await start_agent(farm.address, tmp_path / "state")
    try:
        await farm.attached()
        yield agent
    finally:
        await agent.killed()


@pytest.fixture(scope="module")
def packed_matmul(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """out[8, 6] = a[8, 4] @ w[4, 6], by a kernel that wants w as [6, 4], and the function that lays it out so."""
    a, w = te.placeholder((8, 4), name="a"), te.placeholder((4, 6), name="w")
    packed = te.placeholder((6, 4), name="packed")
    k = te.reduce_axis((0, 4), name="k")
    out = te.compute((8, 6), lambda i, j: te.sum(a[i, k] * packed[j, k], axis=k), name="out")
    pack = te.compute((6, 4), lambda i, j: w[j, i], name="pack")
    module = tvm.IRModule(
        {
            "main": te.create_prim_func([a, packed, out]).with_attr("global_symbol", "main"),
            "pack1": te.create_prim_func([w, pack]).with_attr("global_symbol", "pack1"),
        }
    )
    path = tmp_path_factory.mktemp("matmul") / "matmul.so"
    tvm.compile(module, target=TARGET).export_library(str(path))
    return path.read_bytes()


def matmul_outputs(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((8, 4)).astype(np.float32)
    w = rng.standard_normal((4, 6)).astype(np.float32)
    return npz(arg0=a, arg1=w, out0=a @ w)


def matmul_candidate(farm: FakeCoordinator, kernel: bytes, pack: str) -> farm_pb2.Candidate:
    arguments = [farm_pb2.KernelArgument(shape=s, dtype="float32") for s in ((8, 4), (6, 4), (8, 6))]
    return farm_pb2.Candidate(
        artifact=farm.put(kernel),
        arguments=arguments,
        prepacks=[farm_pb2.PrepackStep(argument=1, function=pack)] if pack else [],
        run_timeout=5.0,
    )


@pytest.mark.usefixtures("agent")
async def test_measures_a_kernel_with_its_weight_laid_out(farm: FakeCoordinator, packed_matmul: bytes) -> None:
    checks = [
        farm_pb2.ExpectedOutputs(artifact=farm.put(matmul_outputs(seed)), rtol=1e-4, atol=1e-6) for seed in range(3)
    ]
    candidates = [matmul_candidate(farm, packed_matmul, pack) for pack in ("pack1", "pack7", "")]
    one_lease(
        farm,
        "a",
        measure=farm_pb2.MeasureWork(candidates=candidates, evaluator=EVALUATOR, expected=checks),
    )
    right, no_function, not_packed = await farm.reports("a", 3)
    assert kind(right) == "measured"
    assert 0 <= right.measured.max_rel_error < 1e-5
    assert kind(no_function) == "LOAD_ERROR"
    assert "pack7" in no_function.failed.message
    assert kind(not_packed) == "LOAD_ERROR"
    assert "argument 1" in not_packed.failed.message


@pytest.mark.usefixtures("agent")
async def test_verifies_without_timing(farm: FakeCoordinator) -> None:
    work = farm_pb2.VerifyWork(
        candidates=[candidate(farm, good()), candidate(farm, hostile("wrong"))],
        expected=[expected(farm, 0), expected(farm, 1)],
    )
    one_lease(farm, "a", verify=work)
    right, wrong = await farm.reports("a", 2)
    assert not right.measured.seconds
    assert right.measured.max_rel_error == 0.0
    assert kind(wrong) == "WRONG_OUTPUT"


@pytest.mark.usefixtures("agent")
async def test_calibrates_with_flushed_caches(farm: FakeCoordinator) -> None:
    evaluator = farm_pb2.Evaluator(number=1, repeat=4, flush_cache=True)
    work = farm_pb2.CalibrateWork(reference=candidate(farm, good()), evaluator=evaluator)
    one_lease(farm, "a", calibrate=work)
    (report,) = await farm.reports("a", 1)
    assert len(report.measured.seconds) == 4
    assert not report.measured.HasField("max_rel_error")
    assert report.conditions.cache_flushed
    assert report.conditions.number == 1


async def test_compares_interleaved(farm: FakeCoordinator, agent: AgentProcess) -> None:
    """Each kernel notes its calls in a file: checks come first, then turns alternate."""
    with tempfile.TemporaryDirectory() as folder:
        # Whoever candidates run as may write here.
        Path(folder).chmod(0o777)
        await check_turns(farm, agent, Path(folder) / "trace")


async def check_turns(farm: FakeCoordinator, agent: AgentProcess, trace: Path) -> None:

    def noting(letter: str, more: str = "") -> bytes:
        note = f'int f = open("{trace}", O_WRONLY|O_CREAT|O_APPEND, 0600); write(f, "{letter}", 1); close(f);'
        return library(note + more + "add(in, out, 1.0f);")

    crash_later = "static int calls; if (++calls > 2) abort();"
    group = farm_pb2.CompareGroup(
        candidates=[
            candidate(farm, noting("A")),
            candidate(farm, hostile("wrong")),
            candidate(farm, noting("B")),
            candidate(farm, noting("C", crash_later)),
        ],
        expected=[expected(farm, 0), expected(farm, 1)],
    )
    work = farm_pb2.CompareWork(
        groups=[group, farm_pb2.CompareGroup(candidates=[candidate(farm, good())])],
        evaluator=farm_pb2.Evaluator(number=1, repeat=2),
        rounds=2,
    )
    one_lease(farm, "a", compare=work)
    first, second = await farm.reports("a", 2)
    a, wrong, b, crashed = first.compared.items
    assert len(a.measured.seconds) == len(b.measured.seconds) == 4
    assert a.measured.max_rel_error == 0.0
    assert wrong.failed.kind == common_pb2.FAILURE_KIND_WRONG_OUTPUT
    assert crashed.failed.kind == common_pb2.FAILURE_KIND_RUN_ERROR
    assert len(second.compared.items[0].measured.seconds) == 4
    notes = trace.read_text()
    turns = "".join(c for i, c in enumerate(notes) if c != notes[i - 1] or i == 0)
    assert turns == "ABCABCAB"
    await none_left(agent)


def tiny_model(weights: np.ndarray) -> bytes:
    """y = relu(x[1, 64] @ w), and y + y, in ONNX with its weight outside, in w.bin."""
    graph = onnx_helper.make_graph(
        [
            onnx_helper.make_node("MatMul", ["x", "w"], ["m"]),
            onnx_helper.make_node("Relu", ["m"], ["y"]),
            onnx_helper.make_node("Add", ["y", "y"], ["z"]),
        ],
        "tiny",
        [onnx_helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [onnx_helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 32]) for n in "yz"],
        [numpy_helper.from_array(weights, "w")],
    )
    model = onnx_helper.make_model(graph, opset_imports=[onnx_helper.make_opsetid("", 17)], ir_version=8)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "data/w.bin")
    model.graph.initializer[0].ClearField("raw_data")
    return bytes(model.SerializeToString())


def relax_model(folder: Path, weights: np.ndarray | None) -> bytes:
    """The same for TVM; the weight is its second parameter if none is given."""
    x, w = relax.Var("x", _tensor(1, 64)), relax.Var("w", _tensor(64, 32))
    builder = relax.BlockBuilder()
    with builder.function("main", [x, w] if weights is None else [x]):
        with builder.dataflow():
            factor = w if weights is None else relax.const(weights)
            y = builder.emit(relax.op.nn.relu(relax.op.matmul(x, factor)))
            out = builder.emit_output(relax.Tuple([y, builder.emit(relax.op.add(y, y))]))
        builder.emit_func_output(out)
    path = folder / "model.so"
    tvm.compile(builder.finalize(), target=tvm.target.Target(TARGET)).export_library(str(path))
    return path.read_bytes()


def _tensor(*shape: int) -> Any:
    return relax.TensorType(shape, "float32")


async def test_benchmarks_whole_models(farm: FakeCoordinator, agent: AgentProcess, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((64, 32)).astype(np.float32)
    inputs = {f"s{i}_inx": rng.standard_normal((1, 64)).astype(np.float32) for i in range(2)}
    tvm_runtime = farm_pb2.ModelContender.RUNTIME_TVM
    onnx_runtime = farm_pb2.ModelContender.RUNTIME_ONNXRUNTIME
    data = farm.put(weights.tobytes())

    def contender(name: str, runtime: Any, artifact: bytes, **more: Any) -> farm_pb2.ModelContender:
        spec = common_pb2.TensorSpec(name="x", shape=[1, 64], dtype="float32")
        return farm_pb2.ModelContender(
            name=name, runtime=runtime, artifact=farm.put(artifact), inputs=[spec], run_timeout=20.0, **more
        )

    outside = relax_model(tmp_path, None)
    contenders = [
        contender("inside", tvm_runtime, relax_model(tmp_path, weights), report_outputs=True),
        contender("outside", tvm_runtime, outside, report_outputs=True, parameters=farm.put(npz(p0=weights))),
        contender("onnx", onnx_runtime, tiny_model(weights), report_outputs=True, external_data={"data/w.bin": data}),
        contender("no model", onnx_runtime, b"not a model"),
        contender("no library", tvm_runtime, b"not a library"),
    ]
    work = farm_pb2.BenchmarkWork(
        contenders=contenders, inputs=farm.put(npz(**inputs)), input_sets=2, rounds=3, calls_per_round=4, warm_up=0.01
    )
    one_lease(farm, "a", benchmark=work)
    (report,) = await farm.reports("a", 1, 60)
    timings = {t.name: t for t in report.benchmark.timings}
    assert list(timings) == ["inside", "outside", "onnx", "no model", "no library"]
    for name in ("inside", "outside", "onnx"):
        assert len(timings[name].measured.seconds) == 3, timings[name].failed
        assert timings[name].first_seconds > 0
        outputs = np.load(io.BytesIO(farm.artifacts[timings[name].outputs_digest]))
        assert sorted(outputs.files) == ["s0_out0", "s0_out1", "s1_out0", "s1_out1"]
        for i in range(2):
            y = np.maximum(inputs[f"s{i}_inx"] @ weights, 0)
            np.testing.assert_allclose(outputs[f"s{i}_out0"], y, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(outputs[f"s{i}_out1"], 2 * y, rtol=1e-4, atol=1e-5)
    for name in ("no model", "no library"):
        assert timings[name].failed.kind == common_pb2.FAILURE_KIND_LOAD_ERROR
        assert timings[name].failed.message
    await none_left(agent)


class Worker:
    """A search worker's end of the gate, in a process that may be shot."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def say(self, **request: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        await self.process.stdin.drain()

    async def granted(self, seconds: float = 5.0) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            assert json.loads(await self.process.stdout.readline()) == {"op": "granted"}


_WORKER = """
import socket, sys, threading
gate = socket.socket(socket.AF_UNIX)
gate.connect(sys.argv[1])
def down():
    while data := gate.recv(4096):
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
threading.Thread(target=down, daemon=True).start()
for line in sys.stdin.buffer:
    gate.sendall(line)
"""


@contextlib.asynccontextmanager
async def worker(gate: str) -> AsyncIterator[Worker]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _WORKER, gate), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Worker(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.mark.usefixtures("agent")
async def test_timing_waits_for_permits_and_verifying_does_not(farm: FakeCoordinator) -> None:
    cores = sorted(os.sched_getaffinity(0))
    async with worker(farm.hellos[0].gate) as searcher:
        await searcher.say(op="acquire", ttl=30.0, cores=cores)
        await searcher.granted()
        one_lease(farm, "v", verify=farm_pb2.VerifyWork(candidates=[candidate(farm, good())]))
        # A limit that waiting would use up: it does not count.
        measure(farm, "m", good(), limit=0.6)
        await farm.finished("v")
        await asyncio.sleep(1.0)
        assert "m" not in farm.endings
        assert not farm.outcomes["m"]
        await searcher.say(op="release")
        (report,) = await farm.reports("m", 1)
        assert kind(report) == "measured"
        await searcher.say(op="acquire", ttl=30.0, cores=cores)
        await searcher.granted()


@pytest.mark.usefixtures("agent")
async def test_a_stopped_worker_loses_its_permit_and_its_life(farm: FakeCoordinator) -> None:
    async with worker(farm.hellos[0].gate) as searcher:
        await searcher.say(op="acquire", ttl=0.5, cores=sorted(os.sched_getaffinity(0)))
        await searcher.granted()
        psutil.Process(searcher.process.pid).suspend()
        measure(farm, "m", good())
        await farm.reports("m", 1)
        assert await searcher.process.wait() == -9


async def test_a_process_that_is_held_stands_still_with_all_that_is_below_it_and_can_be_killed(tmp_path: Path) -> None:
    process = SupervisedProcess("tunefarm_agent.onnx_session", tmp_path, Household(), children_first=False)
    before = psutil.Process().children()
    await process.start()
    (held,) = [child for child in psutil.Process().children() if child not in before]
    try:
        process.hold()
        async with asyncio.timeout(20):
            while held.status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(0.005)
        answer = asyncio.ensure_future(process.call({"op": "none"}, 20.0))
        answered, _ = await asyncio.wait([answer], timeout=0.2)
        assert not answered
        process.go_on()
        assert "lost" in await answer
        process.hold()
    finally:
        await process.kill()
    assert not held.is_running()


async def test_a_lease_that_is_cancelled_while_the_measuring_process_starts_harms_nobody(tmp_path: Path) -> None:
    others = psutil.Process().children()
    stand = Stand(tmp_path, Household(), (0,), 0, 0, Place())
    starting = asyncio.create_task(stand.warm_up())
    try:
        async with asyncio.timeout(60):
            while psutil.Process().children() == others:
                await asyncio.sleep(0.005)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), stand.set_up():
                    pass
            await starting
            async with stand.set_up() as scratch:
                assert scratch.exists()
    finally:
        await stand.close()
    assert not scratch.exists()
