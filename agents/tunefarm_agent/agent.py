"""The composition root: wires the agent's parts, runs them, and leaves nothing behind."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog

from tunefarm_agent.artifacts import Artifacts, Cache
from tunefarm_agent.benchmark import Benchmark
from tunefarm_agent.channel import open_channel
from tunefarm_agent.commands import Confinement
from tunefarm_agent.confinement import adopt_orphans, kill_marked
from tunefarm_agent.detection import cpu_device, program_version
from tunefarm_agent.errors import InvalidInput
from tunefarm_agent.gate import GateServer, host_id
from tunefarm_agent.holdings import Holdings
from tunefarm_agent.leases import LeaseRunner
from tunefarm_agent.session import PROTOCOLS, Session
from tunefarm_agent.settings import Settings
from tunefarm_agent.spool import Spool
from tunefarm_agent.stand import Stand
from tunefarm_agent.supervised import Household
from tunefarm_proto.v1 import common_pb2, farm_pb2, farm_pb2_grpc

_log = structlog.get_logger()


async def run(settings: Settings, lifeline: int | None) -> None:
    """Be an agent until SIGINT, SIGTERM or the end of the lifeline. Raises AgentError.

    `lifeline`: file descriptor of a pipe; its end of file means that the parent is gone.
    """
    device = cpu_device(settings.cores, settings.target, settings.device_name, settings.labels)
    with _only_one(settings.state_dir):
        adopt_orphans()
        _sweep(settings.state_dir)
        async with open_channel(settings.address, settings.insecure, settings.membership) as channel:
            stub = farm_pb2_grpc.FarmServiceStub(channel)
            await _run(settings, device, stub, _stop_event(lifeline))


async def _run(
    settings: Settings, device: common_pb2.Device, stub: farm_pb2_grpc.FarmServiceStub, stop: asyncio.Event
) -> None:
    household = Household()
    stand = Stand(settings.state_dir, household, settings.cores, settings.memory, settings.session_uid)
    gate = GateServer(settings.cores, settings.state_dir)
    artifacts = Artifacts(stub, Cache(settings.state_dir / "artifacts", settings.cache))
    confinement = Confinement("", settings.cores, settings.memory, settings.session_uid)
    benchmark = Benchmark(settings.state_dir, household, confinement, artifacts, gate, settings.settle)
    runner = LeaseRunner(device.device_id, stand, artifacts, gate, benchmark)
    holdings = Holdings({device.device_id: runner}, settings.slots, Spool(settings.state_dir / "spool"))
    session = Session(stub, settings, _hello(settings, device, gate), holdings)
    holdings.send = session.send
    async with _running(gate, stand, household):
        work = [
            asyncio.create_task(session.run()),
            asyncio.create_task(holdings.work(device.device_id)),
            asyncio.create_task(stand.warm_up()),
        ]
        try:
            await _until_stopped(work, stop)
        finally:
            holdings.shut_down()
            await session.farewell()
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


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
async def _running(gate: GateServer, stand: Stand, household: Household) -> AsyncIterator[None]:
    await gate.start()
    try:
        yield
    finally:
        await gate.stop()
        await stand.close()
        await household.bury_all()


def _hello(settings: Settings, device: common_pb2.Device, gate: GateServer) -> farm_pb2.Hello:
    return farm_pb2.Hello(
        protocols=PROTOCOLS,
        version=program_version(),
        agent_id=settings.agent_id,
        boot_id=uuid.uuid4().hex,
        devices=[device],
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
