"""Fake device agents, hundreds in one process: real gRPC streams and real fetches, but nothing is run.

A fake sleeps in place of a measurement and answers what a recording says. Some are killed in mid-lease: the stream is
cut without a word, and the agent comes back under another boot id with the outcomes that nobody acknowledged, as the
real one does from its spool. Started by simulated_farm.py; ends when its standard input closes, and then prints what it
cost (JSON).
"""

import argparse
import asyncio
import contextlib
import json
import random
import resource
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests import recording
from tunefarm_proto.v1 import common_pb2, farm_pb2, farm_pb2_grpc

_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20)]
_SLOTS = 2
_BEAT_SECONDS = 2.5


@dataclass
class Costs:
    """What all fakes of this process did."""

    fetched_bytes: int = 0
    killed: int = 0
    refused: list[str] = field(default_factory=list)


class Killed(Exception):
    """This fake's end, by its own lot."""


class FakeAgent:
    """One agent with one device, over all its lives."""

    def __init__(self, name: str, given: argparse.Namespace, answers: list[float | str], costs: Costs) -> None:
        self._name = name
        self._given = given
        self._answers = answers
        self._costs = costs
        self._chance = random.Random(name)
        self._unacked: dict[tuple[str, int, int], farm_pb2.OutcomeReport] = {}
        self._held: dict[tuple[str, int], farm_pb2.Lease] = {}
        self._saying = asyncio.Lock()

    async def live(self) -> None:
        """Attach, work, be killed, come back; until cancelled."""
        while True:
            async with grpc.aio.insecure_channel(self._given.address, options=_OPTIONS) as channel:
                stub = farm_pb2_grpc.FarmServiceStub(channel)
                try:
                    await self._one_life(stub)
                except Killed:
                    self._costs.killed += 1
                except grpc.aio.AioRpcError as error:
                    self._costs.refused.append(f"{error.code().name}: {error.details()}")
            self._held.clear()
            await asyncio.sleep(self._chance.uniform(1.0, 3.0))

    async def _one_life(self, stub: farm_pb2_grpc.FarmServiceStub) -> None:
        call = stub.Attach()
        leases: asyncio.Queue[farm_pb2.Lease] = asyncio.Queue()
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._say(call, farm_pb2.AgentMessage(hello=self._hello()))
            welcome = (await call.read()).welcome
            for ref in welcome.forget:
                for key in [key for key in self._unacked if key[:2] == (ref.lease_id, ref.attempt)]:
                    del self._unacked[key]
            for report in list(self._unacked.values()):
                await self._say(call, farm_pb2.AgentMessage(outcome=report))
            for lease, attempt in {key[:2] for key in self._unacked}:
                gone = common_pb2.Failure(kind="FAILURE_KIND_DEVICE_LOST", message="the agent was started again")
                ending = farm_pb2.LeaseFinished(lease_id=lease, attempt=attempt, failure=gone)
                await self._say(call, farm_pb2.AgentMessage(lease_finished=ending))
            await self._ask(call)
            tasks = [
                asyncio.create_task(self._listen(call, leases)),
                asyncio.create_task(self._work(stub, call, leases)),
                asyncio.create_task(self._beat(call)),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _hello(self) -> farm_pb2.Hello:
        device = common_pb2.Device(
            device_id="cpu0",
            name=self._name,
            fingerprint=f"sha256:{self._name}",
            facts={"cpu": "fake"},
            target=self._given.target,
        )
        refs = sorted({key[:2] for key in self._unacked})
        return farm_pb2.Hello(
            protocols=[1],
            agent_id=self._name,
            boot_id=uuid.uuid4().hex,
            devices=[device],
            leases=[farm_pb2.LeaseRef(lease_id=lease, attempt=at, device_id="cpu0") for lease, at in refs],
        )

    async def _listen(self, call: Any, leases: "asyncio.Queue[farm_pb2.Lease]") -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            match message.WhichOneof("message"):
                case "lease":
                    self._held[message.lease.lease_id, message.lease.attempt] = message.lease
                    leases.put_nowait(message.lease)
                case "ack":
                    self._unacked.pop((message.ack.lease_id, message.ack.attempt, message.ack.index), None)
                case "cancel":
                    self._held.pop((message.cancel.lease.lease_id, message.cancel.lease.attempt), None)

    async def _work(
        self, stub: farm_pb2_grpc.FarmServiceStub, call: Any, leases: "asyncio.Queue[farm_pb2.Lease]"
    ) -> None:
        while True:
            lease = await leases.get()
            key = (lease.lease_id, lease.attempt)
            candidates = list(enumerate(lease.measure.candidates))
            wanted = [(at, each) for at, each in candidates if not lease.indices or at in lease.indices]
            doomed = self._chance.random() < self._given.killed
            last_item = self._chance.randrange(len(wanted)) if doomed else -1
            await self._fetch(stub, {candidate.artifact for _, candidate in wanted})
            for number, (index, _) in enumerate(wanted):
                if key not in self._held:
                    break
                began = time.time()
                await asyncio.sleep(self._given.item_seconds * self._chance.uniform(0.5, 1.5))
                if number == last_item:
                    raise Killed
                await self._report(call, lease, index, began)
            self._held.pop(key, None)
            finished = farm_pb2.LeaseFinished(lease_id=key[0], attempt=key[1])
            await self._say(call, farm_pb2.AgentMessage(lease_finished=finished))
            await self._ask(call)

    async def _say(self, call: Any, message: farm_pb2.AgentMessage) -> None:
        # gRPC takes one write at a time; a second one would end the stream.
        async with self._saying:
            await call.write(message)

    async def _ask(self, call: Any) -> None:
        request = farm_pb2.WorkRequest(device_id="cpu0", slots=_SLOTS - len(self._held))
        await self._say(call, farm_pb2.AgentMessage(work_request=request))

    async def _report(self, call: Any, lease: farm_pb2.Lease, index: int, began: float) -> None:
        report = farm_pb2.OutcomeReport(lease_id=lease.lease_id, attempt=lease.attempt, index=index)
        report.conditions.started_unix = began
        report.conditions.elapsed = time.time() - began
        answer = self._chance.choice(self._answers)
        if isinstance(answer, str):
            failure = common_pb2.Failure(kind=f"FAILURE_KIND_{answer}", message="as recorded")
            report.failed.CopyFrom(failure)
        else:
            report.measured.seconds.extend(answer * self._chance.uniform(0.97, 1.03) for _ in range(10))
            report.measured.max_rel_error = 1e-6
        self._unacked[lease.lease_id, lease.attempt, index] = report
        await self._say(call, farm_pb2.AgentMessage(outcome=report))

    async def _beat(self, call: Any) -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            refs = {*self._held, *(key[:2] for key in self._unacked)}
            named = [farm_pb2.LeaseRef(lease_id=lease, attempt=at) for lease, at in refs]
            await self._say(call, farm_pb2.AgentMessage(heartbeat=farm_pb2.Heartbeat(leases=named)))

    async def _fetch(self, stub: farm_pb2_grpc.FarmServiceStub, digests: set[str]) -> None:
        wanted = [farm_pb2.WantedArtifact(digest=digest) for digest in digests]
        async for message in stub.FetchArtifacts(farm_pb2.FetchArtifactsRequest(artifacts=wanted)):
            self._costs.fetched_bytes += sum(len(chunk.data) for chunk in message.chunks)


async def run(given: argparse.Namespace) -> None:
    answers = [trial for name in recording.names() for task in recording.load(name).tasks for trial in task.trials]
    costs = Costs()
    agents = [FakeAgent(f"fake-{given.first + at}", given, answers, costs) for at in range(given.count)]
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    # Nothing is ever written to it: readable means closed.
    loop.add_reader(sys.stdin.fileno(), over.set)
    lives = [asyncio.create_task(agent.live()) for agent in agents]
    await over.wait()
    loop.remove_reader(sys.stdin.fileno())
    for life in lives:
        life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*lives, return_exceptions=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "fetched_bytes": costs.fetched_bytes,
        "killed": costs.killed,
        "refused": costs.refused[:5],
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--item-seconds", type=float, required=True)
    parser.add_argument("--killed", type=float, required=True)
    asyncio.run(run(parser.parse_args()))
