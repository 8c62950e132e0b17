"""A thousand fake agents on the real farm side of a coordinator: how many trials a second, how quickly dispatched, at
what cost, and whether anything is lost or counted twice.

Real: gRPC, FarmServicer, FarmControl and the desk under it, the artifact store and artifacts of 10 to 75 KB, the
schedule store (SQLite) and its group commit: each outcome is a journal event and a record, durable before it is
acknowledged, as in a job. Fake: the agents (fake_agents.py), and the jobs, which propose nothing and decide nothing:
they hand in all of their batches at once.

Dispatch is the time from a device's request having been read to its lease having been handed to gRPC, measured in the
coordinator. Durable is the time from an outcome having been read until it is written and may be acknowledged. Both, and
the rate, are of the time in which there is work for everybody: from the moment that a fifth of the trials has ended
until four fifths of the batches are given out. Before, a thousand devices have asked for work that was not there yet;
after, it runs out. The devices offer more trials a second than the coordinator can take, and never wait for an outcome
to be durable: what that time grows to is the overload. Both cores are shared with the fakes, whose own CPU is reported
apart.

    make bench-farm
"""

import argparse
import asyncio
import contextlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from durable_outcomes import Journal

from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.control.attachment import Attachment
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.maintenance import Maintenance
from tunefarm_coordinator.farm.messages import Deliver, Event, Grant, ItemLost, Requested, Work, WorkKind
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service import farm_messages as wire
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.farm import FarmServicer
from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc

TARGET = json.dumps({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "znver4", "num-cores": 2})
BATCH = 8
JOBS = 8
ARTIFACTS = 512
# Batches for each device, at least: it takes two of them at once, before there is anything to see.
FEWEST = 5


@dataclass
class Dispatch:
    """When each device asked, and when its lease was handed to gRPC. Seconds on the performance counter."""

    asked: dict[tuple[str, str], float] = field(default_factory=dict)
    leased: list[tuple[float, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Look on where the farm service turns messages into events and instructions into messages."""
        event_of, message_to_agent = wire.event_of, wire.message_to_agent

        def read(message: farm_pb2.AgentMessage, attachment: Attachment) -> Event | None:
            event = event_of(message, attachment)
            if isinstance(event, Requested) and event.slots:
                self.asked[event.session, event.device_id] = time.perf_counter()
            return event

        def written(instruction: Any) -> farm_pb2.CoordinatorMessage:
            message = message_to_agent(instruction)
            if isinstance(instruction, Grant):
                asked = self.asked[instruction.session, instruction.device_id]
                self.leased.append((asked, time.perf_counter()))
            return message

        wire.event_of, wire.message_to_agent = read, written
        try:
            yield
        finally:
            wire.event_of, wire.message_to_agent = event_of, message_to_agent


def percentiles(spans: list[tuple[float, float]], begin: float, end: float) -> tuple[int, float, float]:
    """Of those (start, end) in seconds that started between two moments: how many, median and 99th percentile in ms."""
    lengths = [until - since for since, until in spans if begin <= since < end]
    p50, p99 = np.percentile(lengths, [50, 99]) * 1e3
    return len(lengths), float(p50), float(p99)


class FakeJobs:
    """All batches at once, outcomes made durable, everything counted."""

    def __init__(self, farm: FarmControl, store: Store, digests: list[str], trials: int) -> None:
        self._farm = farm
        self._store = store
        self._digests = digests
        self._batches = trials // BATCH
        self._journal = Journal(store, TARGET)
        self._open: dict[str, set[int]] = {}
        self._chance = random.Random(0)
        self.over = asyncio.Event()
        self.ended: Counter[tuple[str, int]] = Counter()
        self.moments: list[float] = []
        self.written: list[tuple[float, float]] = []
        self.late = 0
        self.item_lost: Counter[str] = Counter()

    def start(self) -> None:
        for number in range(JOBS):
            self._journal.open(f"job{number}")
        for number in range(self._batches):
            self._submit(number)

    def _submit(self, number: int) -> None:
        job = f"job{number % JOBS}"
        work_id = f"{job}/r{number}"
        argument = farm_pb2.KernelArgument(shape=(1, 56, 56, 64), dtype="float32")
        candidates = [
            farm_pb2.Candidate(
                candidate_id=f"{work_id}/{at}",
                artifact=self._chance.choice(self._digests),
                arguments=[argument] * 4,
                run_timeout=30.0,
            )
            for at in range(BATCH)
        ]
        lease = farm_pb2.Lease(measure=farm_pb2.MeasureWork(workload=f"w{number}", candidates=candidates))
        self._open[work_id] = set(range(BATCH))
        work = Work(work_id, job, TARGET, BATCH, WorkKind.MEASURE, 300.0, payload=lease)
        self._farm.submit(work, self._on_outcome, self._on_lost)

    async def _on_outcome(self, delivered: Deliver, report: farm_pb2.OutcomeReport) -> None:
        job, _, name = delivered.work_id.partition("/")
        first = delivered.index in self._open.get(delivered.work_id, ())
        began = time.perf_counter()
        await self._journal.outcome(job, name, delivered, report, late=not first)
        self.written.append((began, time.perf_counter()))
        if first:
            self._end(delivered.work_id, delivered.index)
        else:
            self.late += 1

    async def _on_lost(self, lost: ItemLost) -> None:
        job, _, name = lost.work_id.partition("/")
        self.item_lost[lost.kind.value] += 1
        await self._journal.lost(job, name, lost.index, lost.message)
        self._end(lost.work_id, lost.index)

    def _end(self, work_id: str, index: int) -> None:
        self.ended[work_id, index] += 1
        self.moments.append(time.perf_counter())
        left = self._open[work_id]
        left.discard(index)
        if left:
            return
        del self._open[work_id]
        self._farm.withdraw([work_id])
        if not self._open:
            self.over.set()

    def audit(self) -> tuple[int, int]:
        """(items lost, items counted twice), from what the store holds."""
        charged: Counter[tuple[str, str, int]] = Counter()
        for number in range(JOBS):
            for entry in self._store.events(f"job{number}"):
                if not entry.payload["late"]:
                    charged[f"job{number}", entry.payload["work"], entry.payload["index"]] += 1
        wanted = self._batches * BATCH
        return wanted - len(charged), sum(count - 1 for count in charged.values())


@dataclass
class Result:
    """One run's figures. Seconds, but for what a name says."""

    agents: int
    trials: int
    wall: float
    trials_per_second: float
    dispatches: int
    dispatch_p50_ms: float
    dispatch_p99_ms: float
    durable_p50_ms: float
    durable_p99_ms: float
    coordinator_cpu_ms_per_trial: float
    fakes_cpu_ms_per_trial: float
    fetched_mb_per_second: float
    killed: int
    late: int
    ended_as: dict[str, int]
    lost: int
    twice: int


async def run_all(given: argparse.Namespace) -> list[Result]:
    results = []
    for _ in range(given.runs):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            results.append(await run(given, Path(folder)))
    return results


async def run(given: argparse.Namespace, folder: Path) -> Result:
    artifacts = ArtifactStore(folder / "artifacts")
    chance = random.Random(1)
    digests = [artifacts.put(chance.randbytes(chance.randrange(10_000, 75_000)), "benchmark") for _ in range(ARTIFACTS)]
    store = Store.open(f"sqlite:///{folder / 'farm.db'}")
    farm = FarmControl(store.next_epoch())
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=[("grpc.so_reuseport", 0)])
    farm_pb2_grpc.add_FarmServiceServicer_to_server(FarmServicer(farm, artifacts, Maintenance(farm, store)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    jobs = FakeJobs(farm, store, digests, given.trials)
    dispatch = Dispatch()
    farm.start()
    await server.start()
    with dispatch.watch():
        fakes = [_start_fakes(given, f"127.0.0.1:{port}", at) for at in range(given.processes)]
        # Everybody is there before the first batch is.
        while len(farm.devices()) < given.agents:  # noqa: ASYNC110 - nobody tells of a device that came
            await asyncio.sleep(0.05)
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        jobs.start()
        watch = asyncio.create_task(_progress(jobs, given.trials, given.quiet))
        await jobs.over.wait()
        wall = time.perf_counter() - began
        watch.cancel()
        after = resource.getrusage(resource.RUSAGE_SELF)
        reports = [await asyncio.to_thread(_end_fakes, process) for process in fakes]
    await farm.stop()
    await server.stop(1.0)
    lost, twice = jobs.audit()
    store.close()
    count = len(jobs.moments)
    batches = count // BATCH
    (_, half), (_, end) = dispatch.leased[batches // 2], dispatch.leased[batches * 4 // 5]
    # Where disk or processor is slow, a small farm's work is all given out before a fifth of it is durable.
    begin = min(jobs.moments[count // 5], half)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    dispatches, dispatch_p50, dispatch_p99 = percentiles(dispatch.leased, begin, end)
    _, durable_p50, durable_p99 = percentiles(jobs.written, begin, end)
    refused = [line for report in reports for line in report["refused"]]
    if refused:
        print("refused:", refused, file=sys.stderr)
    return Result(
        agents=given.agents,
        trials=count,
        wall=wall,
        trials_per_second=sum(begin <= moment < end for moment in jobs.moments) / (end - begin),
        dispatches=dispatches,
        dispatch_p50_ms=dispatch_p50,
        dispatch_p99_ms=dispatch_p99,
        durable_p50_ms=durable_p50,
        durable_p99_ms=durable_p99,
        coordinator_cpu_ms_per_trial=cpu / count * 1e3,
        fakes_cpu_ms_per_trial=sum(report["cpu_seconds"] for report in reports) / count * 1e3,
        fetched_mb_per_second=sum(report["fetched_bytes"] for report in reports) / wall / 1e6,
        killed=sum(report["killed"] for report in reports),
        late=jobs.late,
        ended_as=dict(jobs.item_lost),
        lost=lost,
        twice=twice,
    )


def _start_fakes(given: argparse.Namespace, address: str, at: int) -> "subprocess.Popen[bytes]":
    share = given.agents // given.processes
    first = at * share
    count = share if at < given.processes - 1 else given.agents - first
    options = {
        "address": address,
        "target": TARGET,
        "first": first,
        "count": count,
        "item-seconds": given.item_seconds,
        "killed": given.killed,
    }
    command = [sys.executable, str(Path(__file__).with_name("fake_agents.py"))]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _end_fakes(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    output, _ = process.communicate(timeout=60)
    report: dict[str, Any] = json.loads(output)
    return report


async def _progress(jobs: FakeJobs, trials: int, quiet: bool) -> None:
    while True:
        await asyncio.sleep(5.0)
        if not quiet:
            print(f"{len(jobs.moments)}/{trials} trials", file=sys.stderr)


def show(results: list[Result]) -> None:
    table = Table(title=f"{results[0].agents} fake agents on one coordinator; one column a run")
    table.add_column("")
    for number, _ in enumerate(results):
        table.add_column(f"run {number + 1}", justify="right")
    for name, digits in (
        ("trials", 0),
        ("trials_per_second", 0),
        ("dispatches", 0),
        ("dispatch_p50_ms", 1),
        ("dispatch_p99_ms", 1),
        ("durable_p50_ms", 1),
        ("durable_p99_ms", 1),
        ("coordinator_cpu_ms_per_trial", 3),
        ("fakes_cpu_ms_per_trial", 3),
        ("fetched_mb_per_second", 1),
        ("killed", 0),
        ("late", 0),
        ("lost", 0),
        ("twice", 0),
    ):
        table.add_row(name.replace("_", " "), *(f"{getattr(result, name):.{digits}f}" for result in results))
    Console(width=120).print(table)


def main(arguments: list[str] | None = None) -> list[Result]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2, help="that the fakes live in")
    parser.add_argument("--trials", type=int, default=40_000)
    parser.add_argument("--item-seconds", type=float, default=0.4, help="that a fake takes for a trial, on average")
    parser.add_argument(
        "--killed", type=float, default=0.05, help="share of leases in the middle of which it is killed"
    )
    parser.add_argument("--runs", type=int, default=3, help="one after another: their spread is the A/A row")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("simulated_farm.json"))
    given = parser.parse_args(arguments)
    if given.trials < (least := FEWEST * BATCH * given.agents):
        parser.error(f"with {given.agents} agents, --trials must be {least} or more: work would run out")
    results = asyncio.run(run_all(given))
    show(results)
    given.out.write_text(json.dumps([vars(result) for result in results], indent=2) + "\n")
    return results


if __name__ == "__main__":
    sys.exit(any(result.lost or result.twice for result in main()))
