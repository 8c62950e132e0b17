"""The composition root: wires the agent's parts, runs them, and leaves nothing behind."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import structlog

from tunefarm_agent.artifacts import Artifacts, Cache
from tunefarm_agent.benchmark import Benchmark
from tunefarm_agent.channel import open_channel
from tunefarm_agent.commands import Confinement
from tunefarm_agent.confinement import adopt_orphans, kill_marked
from tunefarm_agent.detection import program_version
from tunefarm_agent.devices import OwnDevice, own_devices
from tunefarm_agent.errors import InvalidInput
from tunefarm_agent.gate import GateServer, NoGate, host_id
from tunefarm_agent.holdings import Holdings
from tunefarm_agent.leases import LeaseRunner
from tunefarm_agent.session import PROTOCOLS, Session
from tunefarm_agent.settings import Settings
from tunefarm_agent.spool import Spool
from tunefarm_agent.stand import Stand
from tunefarm_agent.supervised import Household
from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc

_log = structlog.get_logger()


async def run(settings: Settings, lifeline: int | None) -> None:
    """Be an agent until SIGINT, SIGTERM or the end of the lifeline. Raises AgentError.

    `lifeline`: file descriptor of a pipe; its end of file means that the parent is gone.
    """
    devices = own_devices(settings)
    with _only_one(settings.state_dir):
        adopt_orphans()
        _sweep(settings.state_dir)
        async with open_channel(settings.address, settings.insecure, settings.membership) as channel:
            stub = farm_pb2_grpc.FarmServiceStub(channel)
            await _run(settings, devices, stub, _stop_event(lifeline))


async def _run(
    settings: Settings, devices: Sequence[OwnDevice], stub: farm_pb2_grpc.FarmServiceStub, stop: asyncio.Event
) -> None:
    household = Household()
    gate = GateServer([core for device in devices for core in device.described.cores], settings.state_dir)
    artifacts = Artifacts(stub, Cache(settings.state_dir / "artifacts", settings.cache))
    stands = [
        Stand(settings.state_dir, household, device.cores, device.memory, settings.session_uid, device.place)
        for device in devices
    ]
    runners = {
        device.device_id: _runner(settings, device, stand, household, gate, artifacts)
        for device, stand in zip(devices, stands, strict=True)
    }
    holdings = Holdings(runners, settings.slots, Spool(settings.state_dir / "spool"), partial(_levels, devices))
    session = Session(stub, settings, _hello(settings, devices, gate), holdings)
    holdings.send = session.send
    async with _running(gate, stands, household):
        work = [
            asyncio.create_task(session.run()),
            *(asyncio.create_task(holdings.work(device)) for device in runners),
            *(asyncio.create_task(stand.warm_up()) for stand in stands),
        ]
        try:
            await _until_stopped(work, stop)
        finally:
            holdings.shut_down()
            await session.farewell()
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


def _runner(
    settings: Settings,
    device: OwnDevice,
    stand: Stand,
    household: Household,
    gate: GateServer,
    artifacts: Artifacts,
) -> LeaseRunner:
    own_gate = gate if device.gated else NoGate()
    confinement = Confinement("", device.cores, device.memory, settings.session_uid, place=device.place)
    benchmark = Benchmark(settings.state_dir, household, confinement, artifacts, own_gate)
    return LeaseRunner(device, stand, artifacts, own_gate, benchmark)


def _levels(devices: Iterable[OwnDevice]) -> farm_pb2.Heartbeat:
    """How the devices are now, where somebody tells: temperatures, and who else uses them."""
    beat = farm_pb2.Heartbeat()
    for device in devices:
        if (celsius := device.temperature()) is not None:
            beat.temperatures[device.device_id] = celsius
        if device.watch is not None and (reading := device.watch.look()).by:
            beat.shared[device.device_id].CopyFrom(farm_pb2.Sharing(by=reading.by, busy=reading.busy))
    return beat


async def _until_stopped(work: list[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Returns when asked to stop; raises what the session or a device raises."""
    stopped = asyncio.create_task(stop.wait())
    pending: set[asyncio.Task[bool] | asyncio.Task[None]] = {stopped, *work}
    try:
        while stopped in pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        stopped.cancel()


@contextlib.asynccontextmanager
async def _running(gate: GateServer, stands: Iterable[Stand], household: Household) -> AsyncIterator[None]:
    await gate.start()
    try:
        yield
    finally:
        await gate.stop()
        for stand in stands:
            await stand.close()
        await household.bury_all()


def _hello(settings: Settings, devices: Iterable[OwnDevice], gate: GateServer) -> farm_pb2.Hello:
    return farm_pb2.Hello(
        protocols=PROTOCOLS,
        version=program_version(),
        agent_id=settings.agent_id,
        boot_id=uuid.uuid4().hex,
        devices=[device.described for device in devices],
        gate=str(gate.path),
        host_id=host_id(),
    )


def _stop_event(lifeline: int | None) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if lifeline is not None:
        try:
            os.set_inheritable(lifeline, False)
            os.set_blocking(lifeline, False)
        except OSError as error:
            raise InvalidInput(f"--lifeline-fd {lifeline}: {error.strerror}") from error

        def heard() -> None:
            if not os.read(lifeline, 4096):
                loop.remove_reader(lifeline)
                stop.set()

        loop.add_reader(lifeline, heard)
    return stop


@contextlib.contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """Hold the state folder. Raises InvalidInput: another agent has it."""
    with (state_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInput(
                f"another agent runs with the state folder {state_dir}: stop it, or choose another --state-dir"
            ) from error
        yield


def _sweep(state_dir: Path) -> None:
    """Clear away what an agent that was killed left behind."""
    strays = kill_marked(state_dir)
    if strays:
        _log.warning("processes of an earlier agent were killed", count=strays)
    shutil.rmtree(state_dir / "scratch", ignore_errors=True)
