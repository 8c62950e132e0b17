"""What a trial costs over its kernel's own time: our farm against plain TVM's tracker, RPC server and RPCRunner.

The same artifacts (real candidates of SqueezeNet's kernels), the same device (this machine's CPU), the same evaluator
settings, in one run, in turn. Overhead per trial = (wall time - kernel time) / trials; kernel time is what the
evaluator reports, times its calls, and the call that it makes first. Wall time is from handing in the built candidates
to having all outcomes.

    tunefarm    as in a job: an agent's process, FarmService, batches of 8, every output checked, the reference kernel
                around every candidate, every outcome durable in a store before it counts
    bare        the same without output checks and reference kernel: no more than plain TVM does
    plain N     tracker, stock RPC server, RPCRunner with N workers, linked libraries (no tar to link on the device)

With a delay the link between the two hosts is a proxy: between agent and coordinator for ours, between RPCRunner and
the board's RPC server for plain TVM, whose tracker is on the near side. The delay is the round trip's.

    make bench-rpc
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import onnx
from rich.console import Console
from rich.table import Table
from tvm.s_tir import meta_schedule as ms

sys.path.insert(0, str(Path(__file__).parents[2]))

from durable_outcomes import Journal
from interleaved import Ratio, ratio

from tests.network_proxy import NetworkProxy
from tests.plain_rpc import plain_rpc, started
from tests.programs import free_port
from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.maintenance import Maintenance
from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.candidate import BuiltCandidate
from tunefarm_coordinator.engines.engine import engine
from tunefarm_coordinator.engines.reference_kernel import build_reference
from tunefarm_coordinator.farm.messages import Deliver, ItemLost, Reference, Work, WorkKind
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.expected import expected_outputs
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.seeded import seeded_model
from tunefarm_coordinator.models.target import host_target
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.farm import FarmServicer
from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc

BATCH = 8
NUMBER, REPEAT = 5, 3
EVALUATOR = farm_pb2.Evaluator(number=NUMBER, repeat=REPEAT)
KEY = "bench"


@dataclass
class TaskCandidates:
    """Built candidates of one task, and what their outputs must be."""

    expected: bytes
    built: list[BuiltCandidate] = field(default_factory=list)


@dataclass
class Spent:
    """What a contender's turn took."""

    wall: float
    kernels: float
    trials: int
    failed: int

    @property
    def overhead(self) -> float:
        """Seconds per trial."""
        return (self.wall - self.kernels) / self.trials


def kernel_seconds(samples: list[float]) -> float:
    """Of the evaluator's samples (seconds a call), and of the call before them."""
    return sum(samples) * NUMBER + (samples[0] if samples else 0.0)


def candidates(trials: int, folder: Path) -> list[TaskCandidates]:
    target = host_target()
    model = folder / "squeezenet.onnx"
    onnx.save(seeded_model("squeezenet"), model)
    prepared = prepare(model, {"data_0": (1, 3, 224, 224)}, target, folder / "prepared")
    found = []
    for task in prepared.tasks[: trials // BATCH]:
        search = engine("autoscheduler").open(task.workload, task.module, target, seed=1)
        traces = [default_trace(task.module, target), *(p.trace for p in search.propose(BATCH - 1, None))]
        found.append(TaskCandidates(expected_outputs(task, 0)))
        found[-1].built = [build_candidate(task.module, trace, target) for trace in traces]
        print(f"built {sum(len(each.built) for each in found)}/{trials}", file=sys.stderr)
    return found


# ---- ours


class Ours:
    """A farm in this process and an agent in its own; its measurements as a job has them, or bare."""

    def __init__(
        self, farm: FarmControl, artifacts: ArtifactStore, journal: Journal, tasks: list[TaskCandidates]
    ) -> None:
        self._farm = farm
        self._artifacts = artifacts
        self._journal = journal
        self._tasks = tasks
        self._target = host_target()
        self._expected = [artifacts.put(task.expected, "benchmark") for task in tasks]
        built = build_reference(self._target)
        self._reference = self._candidate(built, b"")
        self._turns = 0

    async def turn(self, bare: bool) -> Spent:
        """Hand in every candidate; over when every outcome is durable."""
        self._turns += 1
        job, over = f"job{self._turns}", asyncio.Event()
        self._journal.open(job)
        left = sum(len(task.built) for task in self._tasks)
        spent = Spent(0.0, 0.0, left, 0)
        # New bytes, or the agent would have them from the turn before: what follows an ELF file's end is ignored.
        works = [
            self._work(job, number, task, f"{self._turns}".encode(), bare) for number, task in enumerate(self._tasks)
        ]

        def ended() -> None:
            nonlocal left
            left -= 1
            if not left:
                over.set()

        async def on_outcome(delivered: Deliver, report: farm_pb2.OutcomeReport) -> None:
            await self._journal.outcome(job, delivered.work_id, delivered, report)
            spent.kernels += kernel_seconds(list(report.measured.seconds))
            spent.failed += not report.measured.seconds
            ended()

        async def on_lost(_: ItemLost) -> None:
            spent.failed += 1
            ended()

        began = time.perf_counter()
        for work in works:
            self._farm.submit(work, on_outcome, on_lost)
        await over.wait()
        spent.wall = time.perf_counter() - began
        self._farm.withdraw([work.work_id for work in works])
        return spent

    def _work(self, job: str, number: int, task: TaskCandidates, mark: bytes, bare: bool) -> Work:
        measure = farm_pb2.MeasureWork(candidates=[self._candidate(b, mark) for b in task.built], evaluator=EVALUATOR)
        reference = None
        if not bare:
            measure.expected.add(artifact=self._expected[number], rtol=1e-3, atol=1e-5)
            evaluator = farm_pb2.Evaluator(number=10, repeat=5)
            measure.reference.CopyFrom(self._reference)
            measure.reference_evaluator.CopyFrom(evaluator)
            calibrate = farm_pb2.CalibrateWork(reference=self._reference, evaluator=evaluator)
            reference = Reference(self._reference.artifact, farm_pb2.Lease(calibrate=calibrate))
        return Work(
            f"{job}/r{number}",
            job,
            self._target,
            len(task.built),
            WorkKind.MEASURE,
            300.0,
            payload=farm_pb2.Lease(measure=measure),
            reference=reference,
        )

    def _candidate(self, built: BuiltCandidate, mark: bytes) -> farm_pb2.Candidate:
        return farm_pb2.Candidate(
            artifact=self._artifacts.put(built.library + mark, "benchmark"),
            arguments=[farm_pb2.KernelArgument(shape=a.shape, dtype=a.dtype) for a in built.arguments],
            prepacks=[farm_pb2.PrepackStep(argument=p.argument, function=p.function) for p in built.prepacks],
            run_timeout=30.0,
        )


@contextlib.asynccontextmanager
async def ours(tasks: list[TaskCandidates], folder: Path, delay: float) -> AsyncIterator[Ours]:
    control = FarmControl(1)
    artifacts = ArtifactStore(folder / "artifacts")
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    with Store.open(f"sqlite:///{folder / 'farm.db'}") as store:
        farm_pb2_grpc.add_FarmServiceServicer_to_server(
            FarmServicer(control, artifacts, Maintenance(control, store)), server
        )
        port = server.add_insecure_port("127.0.0.1:0")
        control.start()
        await server.start()
        with (
            link(port, delay) as near,
            started(
                *("tunefarm_agent", "run", "--connect", f"127.0.0.1:{near}", "--state-dir", str(folder / "agent")),
                *("--device", "cpu0", "--target", host_target()),
            ),
        ):
            while not control.devices():  # noqa: ASYNC110 - nobody tells of a device that came
                await asyncio.sleep(0.05)
            yield Ours(control, artifacts, Journal(store, host_target()), tasks)
        await control.stop()
        await server.stop(0)


# ---- plain TVM


class Plain:
    """RPCRunner against a tracker with one stock server."""

    def __init__(self, tasks: list[TaskCandidates], tracker: int, workers: int, folder: Path) -> None:
        self._runner = ms.runner.RPCRunner(
            ms.runner.RPCConfig(
                tracker_host="127.0.0.1", tracker_port=tracker, tracker_key=KEY, session_timeout_sec=60
            ),
            ms.runner.EvaluatorConfig(number=NUMBER, repeat=REPEAT, min_repeat_ms=0, enable_cpu_cache_flush=False),
            max_workers=workers,
        )
        self._inputs = []
        folder.mkdir(exist_ok=True)
        for at, built in enumerate(built for task in tasks for built in task.built):
            path = folder / f"candidate{at}.so"
            path.write_bytes(built.library)
            arguments = [ms.arg_info.TensorInfo(a.dtype, a.shape) for a in built.arguments]
            self._inputs.append(ms.runner.RunnerInput(str(path), "cpu", arguments))

    def turn(self) -> Spent:
        spent = Spent(0.0, 0.0, len(self._inputs), 0)
        began = time.perf_counter()
        for future in self._runner.run(self._inputs):
            result = future.result()
            if result.run_secs is None:
                spent.failed += 1
                print("plain:", str(result.error_msg)[-300:], file=sys.stderr)
            else:
                spent.kernels += kernel_seconds([float(each) for each in result.run_secs])
        spent.wall = time.perf_counter() - began
        return spent


@contextlib.contextmanager
def plain_farm(delay: float) -> Iterator[int]:
    """The port of a tracker that knows one board. A delayed board is at another loopback address, behind a proxy."""
    tracker, board = free_port(), free_port()
    host = "127.0.0.2" if delay else "127.0.0.1"
    with contextlib.ExitStack() as stack:
        stack.enter_context(plain_rpc("tvm.exec.rpc_tracker", tracker))
        if delay:
            stack.enter_context(NetworkProxy("127.0.0.1", board, delay / 2, host, board))
        known = ("--tracker", f"127.0.0.1:{tracker}", "--key", KEY, "--custom-addr", host)
        stack.enter_context(plain_rpc("tvm.exec.rpc_server", board, *known))
        # Until the tracker knows it.
        time.sleep(1.0)
        yield tracker


# ---- both


@contextlib.contextmanager
def link(port: int, delay: float) -> Iterator[int]:
    """The near end of a link to a local port."""
    if not delay:
        yield port
        return
    with NetworkProxy("127.0.0.1", port, delay / 2) as proxy:
        yield proxy.port


async def compare(
    tasks: list[TaskCandidates], folder: Path, delay: float, rounds: int, workers: list[int]
) -> dict[str, list[Spent]]:
    async with ours(tasks, folder / f"ours{delay:g}", delay) as farm:
        with plain_farm(delay) as tracker:
            runners = {f"plain {count}": Plain(tasks, tracker, count, folder / "plain") for count in workers}

            def of(runner: Plain) -> Callable[[], Awaitable[Spent]]:
                return lambda: asyncio.to_thread(runner.turn)

            turns: dict[str, Callable[[], Awaitable[Spent]]] = {
                "tunefarm": lambda: farm.turn(bare=False),
                "tunefarm (A/A)": lambda: farm.turn(bare=False),
                "bare": lambda: farm.turn(bare=True),
                **{name: of(runner) for name, runner in runners.items()},
            }
            spent: dict[str, list[Spent]] = {name: [] for name in turns}
            names = list(turns)
            for number in range(-1, rounds):
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    turn = await turns[name]()
                    # The first round warms everybody up.
                    if number >= 0:
                        spent[name].append(turn)
                    print(f"{name}: {turn.overhead * 1e3:.1f} ms a trial, {turn.failed} failed", file=sys.stderr)
            return spent


def report(spent: dict[str, list[Spent]], delay: float) -> dict[str, Any]:
    overheads = {name: [turn.overhead for turn in turns] for name, turns in spent.items()}
    plains = [name for name in overheads if name.startswith("plain")]
    best = min(plains, key=lambda name: float(np.median(overheads[name])))
    title = f"{delay * 1e3:g} ms of delay" if delay else "loopback"
    table = Table(title=f"{title}; {spent[best][0].trials} trials a turn, {len(spent[best])} turns")
    for column in ("", "overhead a trial, ms", "kernels a trial, ms", f"{best} / this"):
        table.add_column(column, justify="right" if column else "left")
    ratios: dict[str, Ratio] = {}
    for name, turns in spent.items():
        ratios[name] = ratio(overheads[best], overheads[name])
        low, middle, high = np.percentile(overheads[name], [25, 50, 75]) * 1e3
        kernels = float(np.median([turn.kernels / turn.trials for turn in turns])) * 1e3
        failed = sum(turn.failed for turn in turns)
        label = f"{name}, {failed} failed" if failed else name
        table.add_row(label, f"{middle:.2f} [{low:.2f}, {high:.2f}]", f"{kernels:.2f}", str(ratios[name]))
    same = ratio(overheads["tunefarm (A/A)"], overheads["tunefarm"])
    Console(width=110).print(table, f"A/A {same}")
    return {
        "delay_seconds": delay,
        "best_plain": best,
        "overhead_seconds": overheads,
        "ratios": {name: vars(each) for name, each in ratios.items()},
        "a_a": vars(same),
        "failed": {name: sum(turn.failed for turn in turns) for name, turns in spent.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64, help="a turn; a multiple of 8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--trials-with-delay", type=int, default=32, help="the same, where each takes a second")
    parser.add_argument("--rounds-with-delay", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds of a round trip; 0: loopback alone")
    parser.add_argument("--workers", default="1,2", help="of RPCRunner; the best is compared with")
    parser.add_argument("--out", type=Path, default=Path("against_rpc.json"))
    given = parser.parse_args()
    workers = [int(each) for each in given.workers.split(",")]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        tasks = candidates(given.trials, folder)
        results.append(report(asyncio.run(compare(tasks, folder, 0.0, given.rounds, workers)), 0.0))
        if given.delay:
            some = tasks[: given.trials_with_delay // BATCH]
            spent = asyncio.run(compare(some, folder, given.delay, given.rounds_with_delay, workers))
            results.append(report(spent, given.delay))
    given.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
