"""The compute child with real processes: real Ray, real TVM, real kills."""

import asyncio
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
import pytest_asyncio
from onnx import TensorProto, helper

from tests.tiny_models import save_tiny_cnn
from tests.unit.compute.fake_gate import FakeGate
from tunefarm_coordinator.compute.client import ComputeClient, ComputeState
from tunefarm_coordinator.compute.gate import host_id
from tunefarm_coordinator.compute.messages import (
    Build,
    BuildFailed,
    Built,
    CheckModel,
    CloseJob,
    ComputeLost,
    Expected,
    ExpectedOf,
    Gate,
    Observation,
    Observe,
    OpenTask,
    Package,
    Packaged,
    PreparedSummary,
    PrepareModel,
    Propose,
    Proposed,
    Reference,
    ResolveTarget,
    TaskKey,
    UnknownTask,
    WarmUp,
)
from tunefarm_coordinator.compute.process_session import members
from tunefarm_coordinator.compute.settings import ComputeSettings, FaultPlan, candidate_digest
from tunefarm_coordinator.errors import InvalidInput, Unavailable
from tunefarm_coordinator.models.task import TuningTask

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = json.dumps({"kind": "llvm", "num-cores": 2})
# No trace that a search proposes meets these; `faulty` finds texts that do.
STILL_SECONDS = 6.0
FAULTS = FaultPlan(crash_build=100_003, hang_build=100_019)


def faulty(divisor: int) -> str:
    """A text that, as a trace, meets the fault with this divisor."""
    return next(text for text in map(str, itertools.count()) if candidate_digest(text) % divisor == 0)


@pytest.fixture(scope="module")
def matmul() -> TuningTask:
    import tvm
    from tvm import te

    a, b = te.placeholder((32, 32), name="a"), te.placeholder((32, 32), name="b")
    k = te.reduce_axis((0, 32), name="k")
    c = te.compute((32, 32), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    module = tvm.IRModule({"main": te.create_prim_func([a, b, c])})
    return TuningTask("v1:matmul", "matmul", 1, str(tvm.ir.save_json(module)), 2.0 * 32**3)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compute() -> AsyncIterator[ComputeClient]:
    client = ComputeClient(ComputeSettings(faults=FAULTS, searchers=1, builders=2, still_timeout=STILL_SECONDS))
    client.start()
    await client.ask(WarmUp())
    yield client
    child = client._child
    await client.close()
    assert child is not None
    assert child.session is not None
    assert members(child.session) == []


def opening(task: TuningTask, job: str, *history: Observation) -> OpenTask:
    return OpenTask(TaskKey(job, task.workload), task, TARGET, "autoscheduler", 1, history)


def workers(client: ComputeClient, name: str) -> list[psutil.Process]:
    """Live worker processes of that class."""
    child = client._child
    assert child is not None
    assert child.session is not None
    return [
        psutil.Process(pid)
        for pid in members(child.session)
        if " ".join(psutil.Process(pid).cmdline()).startswith(f"ray::{name}")
    ]


async def until(condition: Callable[[], bool], seconds: float) -> float:
    """Waits for the condition; seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "the condition did not come true in time"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def test_candidates_are_proposed_built_and_observed(compute: ComputeClient, matmul: TuningTask) -> None:
    key = TaskKey("round", matmul.workload)
    with pytest.raises(UnknownTask):
        await compute.ask(Propose(key, 2))
    await compute.ask(opening(matmul, "round"))
    first: Proposed = await compute.ask(Propose(key, 4))
    assert len(first.proposals) == 4
    assert first.seconds > 0
    built = await asyncio.gather(
        *(compute.ask(Build(matmul.module, proposal.trace, TARGET, 60)) for proposal in first.proposals)
    )
    assert all(isinstance(answer, Built) for answer in built)
    assert {answer.candidate.library[:4] for answer in built} == {b"\x7fELF"}
    assert [argument.shape for argument in built[0].candidate.arguments] == [(32, 32)] * 3
    seen = tuple(
        Observation(proposal.identity, proposal.trace, 1e-5 * (1 + index))
        for index, proposal in enumerate(first.proposals)
    )
    await compute.ask(Observe(key, seen))
    second: Proposed = await compute.ask(Propose(key, 4))
    assert second.proposals
    assert not {each.identity for each in first.proposals} & {each.identity for each in second.proposals}
    await compute.ask(CloseJob("round"))
    with pytest.raises(UnknownTask):
        await compute.ask(Propose(key, 1))


async def test_a_trace_that_does_not_fit_is_a_build_error(compute: ComputeClient, matmul: TuningTask) -> None:
    answer = await compute.ask(Build(matmul.module, "[[], 5]", TARGET, 60))
    assert isinstance(answer, BuildFailed)
    assert answer.kind == "BUILD_ERROR"


async def test_a_crash_and_a_hang_cost_one_candidate_each(compute: ComputeClient, matmul: TuningTask) -> None:
    await compute.ask(opening(matmul, "faults"))
    proposed: Proposed = await compute.ask(Propose(TaskKey("faults", matmul.workload), 4))
    good = [compute.ask(Build(matmul.module, each.trace, TARGET, 60)) for each in proposed.proposals]
    crash = compute.ask(Build(matmul.module, faulty(100_003), TARGET, 60))
    hang = compute.ask(Build(matmul.module, faulty(100_019), TARGET, 0.5))
    crashed, hung, *others = await asyncio.gather(crash, hang, *good)
    assert isinstance(crashed, BuildFailed)
    assert crashed.kind == "BUILD_ERROR"
    assert "ended its process" in crashed.message
    assert isinstance(hung, BuildFailed)
    assert hung.kind == "BUILD_TIMEOUT"
    # Nowhere near the hour that it would have taken.
    assert 0.5 <= hung.seconds < 30
    assert all(isinstance(answer, Built) for answer in others)
    assert len(workers(compute, "Builder")) == 2


async def test_a_task_whose_searcher_died_is_opened_again_with_its_history(
    compute: ComputeClient, matmul: TuningTask
) -> None:
    key = TaskKey("search", matmul.workload)
    await compute.ask(opening(matmul, "search"))
    first: Proposed = await compute.ask(Propose(key, 4))
    history = tuple(Observation(each.identity, each.trace, 1e-5) for each in first.proposals)
    await compute.ask(Observe(key, history))
    for searcher in workers(compute, "Searcher"):
        searcher.kill()
    with pytest.raises(UnknownTask):
        await compute.ask(Propose(key, 1))
    await compute.ask(opening(matmul, "search", *history))
    second: Proposed = await compute.ask(Propose(key, 4))
    assert second.proposals
    assert not {each.identity for each in history} & {each.identity for each in second.proposals}


async def test_a_trainer_that_died_has_every_task_opened_again(compute: ComputeClient, matmul: TuningTask) -> None:
    key = TaskKey("train", matmul.workload)
    await compute.ask(opening(matmul, "train"))
    proposed: Proposed = await compute.ask(Propose(key, 1))
    for trainer in workers(compute, "Trainer"):
        trainer.kill()
    best = proposed.proposals[0]
    await compute.ask(Observe(key, (Observation(best.identity, best.trace, 1e-5),)))

    async def is_unknown() -> bool:
        try:
            await compute.ask(Propose(key, 1))
        except UnknownTask:
            return True
        return False

    for _ in range(50):
        if await is_unknown():
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("the trainer's death was not noticed")
    await compute.ask(opening(matmul, "train"))


async def test_an_unknown_engine_is_invalid(compute: ComputeClient, matmul: TuningTask) -> None:
    opened = opening(matmul, "engine")
    with pytest.raises(InvalidInput, match="tuner"):
        await compute.ask(OpenTask(opened.key, matmul, TARGET, "guesswork", 1, ()))


async def test_a_model_is_prepared_and_found_again(compute: ComputeClient, tmp_path: Path) -> None:
    request = PrepareModel(
        save_tiny_cnn(tmp_path / "tiny.onnx"), {"image": (1, 3, 16, 16)}, "host", tmp_path / "prepared"
    )
    summary = await compute.ask(request)
    assert summary.tasks
    assert set(summary.baselines) == {task.workload for task in summary.tasks}
    assert json.loads(summary.target)["kind"] == "llvm"
    task = summary.tasks[0]
    default = summary.baselines[task.workload]
    assert isinstance(await compute.ask(Build(task.module, default, summary.target, 60)), Built)
    # The default schedule was not proposed by search; it is learned from all the same.
    key = TaskKey("prepared", task.workload)
    await compute.ask(OpenTask(key, task, summary.target, "autoscheduler", 1, ()))
    await compute.ask(Observe(key, (Observation("default:1", default, 1e-3),)))
    await check_package(compute, request, summary)
    request.model.unlink()
    assert await compute.ask(request) == summary


async def check_package(compute: ComputeClient, request: PrepareModel, summary: PreparedSummary) -> None:
    """Expected outputs, reference and package of a prepared model."""
    task = summary.tasks[0]
    expected: Expected = await compute.ask(ExpectedOf(task, (0, 1)))
    assert (expected.rtol, expected.atol) == (1e-3, 1e-6)
    first, second = (np.load(io.BytesIO(blob)) for blob in expected.blobs)
    assert {"arg0", "out0"} <= set(first.files)
    assert not np.array_equal(first["arg0"], second["arg0"])
    inputs, outputs = await compute.ask(Reference(request.model, request.shapes, (5, 6)))
    assert set(np.load(io.BytesIO(inputs)).files) == {"s0_inimage", "s1_inimage"}
    assert np.load(io.BytesIO(outputs))["s1_out0"].shape == (1, 10)
    traces = {task.workload: summary.baselines[task.workload]}
    records = ((task.workload, traces[task.workload], (2e-5, 1e-5, 3e-5)),)
    folder = request.out_dir.parent / "package"
    packaged: Packaged = await compute.ask(Package((request.out_dir,), traces, records, folder, {"job_id": "j"}))
    assert packaged.library.read_bytes()[:4] == b"\x7fELF"
    assert json.loads((folder / "manifest.json").read_text())["job_id"] == "j"


@pytest.mark.slow
async def test_a_model_that_ends_the_process_that_checks_it_is_refused(compute: ComputeClient, tmp_path: Path) -> None:
    """Integers divided by zero: ONNX Runtime refuses, ONNX's evaluator gives zero, compiled code is killed for it."""
    nodes = [helper.make_node("Sub", ["a", "b"], ["c"]), helper.make_node("Div", ["a", "c"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.INT32, [64]) for name in ("a", "b", "y")]
    model = helper.make_model(helper.make_graph(nodes, "divided", values[:2], values[2:]), ir_version=8)
    onnx.save(model, tmp_path / "divided.onnx")
    request = PrepareModel(tmp_path / "divided.onnx", {"a": (64,), "b": (64,)}, "host", tmp_path / "prepared")
    await compute.ask(request)
    reference = Reference(request.model, request.shapes, (0,), dispensable=True)
    with pytest.raises(InvalidInput, match=r"divided\.onnx: .* ends the process that checks it, while it ran untuned"):
        await compute.ask(CheckModel(request.out_dir, reference))
    with pytest.raises(InvalidInput, match="ONNX Runtime refuses the values of"):
        await compute.ask(CheckModel(request.out_dir, replace(reference, dispensable=False)))


async def test_a_closed_gate_holds_a_build_and_does_not_time_it_out(
    compute: ComputeClient, matmul: TuningTask, tmp_path: Path
) -> None:
    gate = FakeGate(tmp_path / "gate")
    try:
        gate.opened.clear()
        compute.set_gates([Gate(host_id(), gate.path)])
        await until(lambda: compute._gates != () and not compute._side_tasks, 30)
        build = asyncio.create_task(compute.ask(Build(matmul.module, "[]", TARGET, 0.5)))
        assert (await asyncio.to_thread(gate.next_told))[1]["op"] == "acquire"
        done, _ = await asyncio.wait([build], timeout=1.0)
        assert not done
        gate.opened.set()
        answer = await build
        assert isinstance(answer, BuildFailed)
        assert answer.kind == "BUILD_ERROR"
        assert (await asyncio.to_thread(gate.next_told))[1]["op"] == "release"
    finally:
        compute.set_gates([])
        gate.stop()


async def test_a_gate_that_is_taken_away_lets_a_waiting_build_go(
    compute: ComputeClient, matmul: TuningTask, tmp_path: Path
) -> None:
    """As when its agent stands still: its socket takes connections, nobody answers, and its session is lost."""
    gate = FakeGate(tmp_path / "gate")
    try:
        gate.opened.clear()
        compute.set_gates([Gate(host_id(), gate.path)])
        await until(lambda: not compute._side_tasks, 30)
        build = asyncio.create_task(compute.ask(Build(matmul.module, "[]", TARGET, 60)))
        assert (await asyncio.to_thread(gate.next_told))[1]["op"] == "acquire"
        compute.set_gates([])
        assert isinstance(await asyncio.wait_for(build, STILL_SECONDS), BuildFailed)
    finally:
        compute.set_gates([])
        gate.stop()


async def test_rounds_of_one_searcher_ask_for_one_permit_after_the_other(
    compute: ComputeClient, matmul: TuningTask, tmp_path: Path
) -> None:
    jobs = ("one", "two", "three")
    for job in jobs:
        await compute.ask(opening(matmul, job))
    gate = FakeGate(tmp_path / "gate")
    try:
        compute.set_gates([Gate(host_id(), gate.path)])
        await until(lambda: not compute._side_tasks, 30)
        await asyncio.gather(*(compute.ask(Propose(TaskKey(job, matmul.workload), 2)) for job in jobs))
        assert await asyncio.to_thread(gate.ops, 6) == ["acquire", "release"] * 3
    finally:
        compute.set_gates([])
        gate.stop()
        for job in jobs:
            await compute.ask(CloseJob(job))


async def test_what_is_not_a_model_is_invalid(compute: ComputeClient, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    with pytest.raises(InvalidInput):
        await compute.ask(PrepareModel(path, {}, "host", tmp_path / "prepared"))


async def test_workers_that_stand_still_with_nothing_to_do_are_replaced(
    compute: ComputeClient, matmul: TuningTask
) -> None:
    """Nothing of a call has begun then: its own limit counts nothing, and the candidate is charged nothing."""
    await compute.ask(opening(matmul, "still"))
    await compute.ask(ResolveTarget("host"))
    still = [*workers(compute, "Builder"), *workers(compute, "Searcher"), *workers(compute, "ModelWorker")]
    assert len(still) == 4
    for worker in still:
        worker.suspend()
    building = [asyncio.create_task(compute.ask(Build(matmul.module, "[]", TARGET, 60))) for _ in range(2)]
    resolving = asyncio.create_task(compute.ask(ResolveTarget("host")))
    with pytest.raises(UnknownTask, match=f"it stood still for {STILL_SECONDS:g} s"):
        await compute.ask(Propose(TaskKey("still", matmul.workload), 1))
    assert {type(answer) for answer in await asyncio.gather(*building)} == {BuildFailed}
    assert json.loads(await resolving)["kind"] == "llvm"
    await until(lambda: not any(worker.is_running() for worker in still), 30)
    await compute.ask(opening(matmul, "still"))
    await compute.ask(CloseJob("still"))


async def test_a_model_worker_that_dies_before_it_begins_is_replaced(compute: ComputeClient) -> None:
    assert json.loads(await compute.ask(ResolveTarget("host")))["kind"] == "llvm"
    (worker,) = workers(compute, "ModelWorker")
    worker.suspend()
    waiting = asyncio.create_task(compute.ask(ResolveTarget("host")))
    await asyncio.sleep(0.2)
    worker.kill()
    assert json.loads(await waiting)["kind"] == "llvm"


async def test_a_request_that_is_cancelled_is_given_up(compute: ComputeClient, matmul: TuningTask) -> None:
    waiting = asyncio.create_task(compute.ask(Build(matmul.module, faulty(100_019), TARGET, 1.0)))
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    answers = await asyncio.gather(*(compute.ask(Build(matmul.module, "[]", TARGET, 60)) for _ in range(4)))
    assert all(isinstance(answer, BuildFailed) for answer in answers)


@dataclass
class Mortal:
    """A client whose children end, one after another, and the states that it told."""

    client: ComputeClient
    states: list[tuple[ComputeState, str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mortal() -> AsyncIterator[Mortal]:
    states: list[tuple[ComputeState, str]] = []
    client = ComputeClient(ComputeSettings(), on_state=lambda *change: states.append(change))
    client.start()
    await client.ask(WarmUp())
    yield Mortal(client, states)
    await client.close()


async def test_a_lost_child_is_replaced(mortal: Mortal) -> None:
    client, states = mortal.client, mortal.states
    assert names(states) == ["starting", "ready"]
    child = client._child
    assert child is not None
    assert child.session is not None
    head = next(pid for pid in members(child.session) if psutil.Process(pid).name() == "gcs_server")
    waiting = asyncio.create_task(client.ask(ResolveTarget("host")))
    await asyncio.sleep(0)
    os.kill(head, signal.SIGKILL)
    with pytest.raises(ComputeLost):
        await asyncio.wait_for(waiting, 30)
    assert members(child.session) == []
    assert any(state is ComputeState.LOST and "Ray's gcs_server ended" in reason for state, reason in states)
    await client.ask(WarmUp())
    assert client.generation == 2
    assert names(states) == ["starting", "ready", "lost", "starting", "ready"]


async def test_what_is_asked_of_an_ending_child_waits_for_the_next(mortal: Mortal) -> None:
    client = mortal.client
    await client.ask(WarmUp())
    generation = client.generation
    await kill(client)
    # Four times at once, because that is how often a job asks again.
    await asyncio.gather(*(client.ask(WarmUp()) for _ in range(4)))
    assert client.generation == generation + 1


async def kill(client: ComputeClient) -> None:
    """Kills the present child's driver; returns when the coordinator has seen it, while its Ray still ends."""
    child = client._child
    assert child is not None
    assert child.session is not None
    os.kill(child.session, signal.SIGKILL)
    while not child.ending:  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0)
    assert client._child is child


async def test_a_child_that_stands_still_is_replaced_and_close_leaves_nothing(mortal: Mortal) -> None:
    client = mortal.client
    await client.ask(WarmUp())
    child, generation = client._child, client.generation
    assert child is not None
    assert child.session is not None
    os.kill(child.session, signal.SIGSTOP)
    # Ray's start, which this time includes, may take longer where others use the cores: a short one only from now on.
    child._timeout = 6.0
    pinging = asyncio.create_task(child._ping())
    with pytest.raises(ComputeLost, match="it said nothing for 6 s"):
        await client.ask(WarmUp())
    await pinging
    assert members(child.session) == []
    await client.ask(WarmUp())
    assert client.generation == generation + 1
    last = client._child
    assert last is not None
    assert last.session is not None
    await kill(client)
    waiting = asyncio.create_task(client.ask(WarmUp()))
    client.set_gates(())
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(ComputeLost, match="closed"):
        await waiting
    assert members(last.session) == []
    assert names(mortal.states)[-1] == "closed"
    with pytest.raises(ComputeLost):
        await client.ask(WarmUp())


async def test_a_ray_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunefarm_coordinator.compute.client.FAILED_STARTS", 1)
    folder = tmp_path / "children"
    folder.mkdir()
    client = ComputeClient(ComputeSettings(temp_dir=folder, ray_address="nonsense"))
    client.start()
    with pytest.raises(ComputeLost, match="Ray did not start"):
        await client.ask(WarmUp())
    with pytest.raises(Unavailable, match="Ray did not start"):
        await client.ask(WarmUp())
    await client.close()
    assert left_in(folder) == []


def names(states: list[tuple[ComputeState, str]]) -> list[str]:
    return [state.value for state, _ in states]


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


OWNER = """
import asyncio
from tunefarm_coordinator.compute.client import ComputeClient, ComputeSettings
from tunefarm_coordinator.compute.messages import WarmUp

async def main():
    client = ComputeClient(ComputeSettings())
    client.start()
    await client.ask(WarmUp())
    print(client._child._process.pid, client._child.session, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def owner() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def test_nothing_outlives_an_owner_that_is_killed(owner: "subprocess.Popen[str]") -> None:
    assert owner.stdout is not None
    guard, session = map(int, (await asyncio.to_thread(owner.stdout.readline)).split())
    assert len(members(session)) > 5
    owner.kill()
    await until(lambda: members(session) == [] and members(guard) == [], 30)
