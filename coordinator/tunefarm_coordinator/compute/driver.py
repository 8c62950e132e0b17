"""The Ray driver: `python -m tunefarm_coordinator.compute.driver SOCKET GUARD_PID`, started by `guard.py` only.

Reads requests from the coordinator's socket, has workers answer them, and ends when the coordinator is gone
or Ray can't go on. There is nothing in here that the coordinator can't tell again.
"""

import asyncio
import contextlib
import functools
import os
import secrets
import socket
import sys
import traceback
from typing import TYPE_CHECKING

from tunefarm_coordinator.compute import framing
from tunefarm_coordinator.compute.messages import ComputeFailed, UnknownTask
from tunefarm_coordinator.compute.process_session import die_with_parent
from tunefarm_coordinator.compute.settings import (
    Answer,
    Ask,
    Cancel,
    FaultPlan,
    Ping,
    Ready,
    Setup,
    Started,
    Stopping,
)
from tunefarm_coordinator.errors import TunefarmError

if TYPE_CHECKING:  # brings Ray with it, which takes a second to import and is not needed to say hello
    from tunefarm_coordinator.compute.dispatch import Dispatcher

FAULTS_VARIABLE = "TUNEFARM_COMPUTE_FAULTS"


class Connection:
    """The coordinator's requests, each an asyncio task until it is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._answering: dict[int, asyncio.Task[None]] = {}

    def send(self, message: object) -> None:
        """Sends a message; one that the coordinator does not live to read is no error."""
        self._writer.write(framing.encode(message))

    async def serve(self, dispatcher: "Dispatcher") -> None:
        """Answers requests until the coordinator is gone."""
        while (message := await framing.read(self._reader)) is not None:
            if isinstance(message, Ask):
                task = asyncio.create_task(self._answer(dispatcher, message))
                self._answering[message.number] = task
                task.add_done_callback(functools.partial(self._answered, message.number))
            elif isinstance(message, Cancel) and message.number in self._answering:
                self._answering[message.number].cancel()
            elif isinstance(message, Ping):
                self.send(message)

    async def _answer(self, dispatcher: "Dispatcher", ask: Ask) -> None:
        try:
            self.send(Answer(ask.number, value=await dispatcher.answer(ask.request)))
        except (TunefarmError, UnknownTask, ComputeFailed) as error:
            self.send(Answer(ask.number, error=error))

    def _answered(self, number: int, task: "asyncio.Task[None]") -> None:
        """An error of our own must not leave the coordinator waiting."""
        del self._answering[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            traceback.print_exception(error)
            self.send(Answer(number, error=ComputeFailed(f"{type(error).__name__}: {error}")))


async def run(sock: socket.socket) -> None:
    """Serves the coordinator at the other end of `sock`."""
    reader, writer = await framing.open_streams(sock)
    connection = Connection(reader, writer)
    connection.send(Started(os.getpid()))
    setup = await framing.read(reader)
    if not isinstance(setup, Setup):
        return
    reason = await _serve(connection, setup)
    connection.send(Stopping(reason))
    with contextlib.suppress(ConnectionError):
        await writer.drain()


async def _serve(connection: Connection, setup: Setup) -> str:
    """Returns why it ended."""
    os.environ.update(_environment(setup))
    from tunefarm_coordinator.compute import cluster
    from tunefarm_coordinator.compute.dispatch import Dispatcher

    try:
        # In this thread: Ray takes the thread that starts it for the main one.
        ray = cluster.start(setup.settings, setup.folder)
    except cluster.START_ERRORS as error:
        traceback.print_exception(error)
        return f"Ray did not start: {cluster.first_line(error)}"
    faults = setup.settings.faults or FaultPlan.parse(os.environ.get(FAULTS_VARIABLE, ""))
    dispatcher = Dispatcher(ray, setup.settings, setup.gates, faults)
    connection.send(Ready(ray.detail))
    cluster.watch(ray, _give_up)
    await connection.serve(dispatcher)
    if not ray.private:
        # A private Ray is killed by the guard, which is quicker; a cluster wants to be told.
        cluster.leave()
    return "the coordinator has closed the connection"


def _give_up(reason: str) -> None:
    """Ends the process at once, from whatever thread: without its head, Ray blocks the event loop for a minute."""
    print(reason, file=sys.stderr, flush=True)
    os._exit(1)


def _environment(setup: Setup) -> dict[str, str]:
    """What Ray reads from the environment while it is imported, and what its processes here inherit."""
    if setup.settings.ray_address is not None:
        return {"RAY_USAGE_STATS_ENABLED": "0"}
    # A token of this Ray's own, which no file ever holds: its ports are open on every interface.
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Where killed builders leave their temporary files, to be removed with the folder.
        "TMPDIR": str(setup.folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # The default of the next version; said here, Ray does not warn of it.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def main() -> None:
    """Entry point."""
    descriptor, guard = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(guard)
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    asyncio.run(run(sock))
    sys.stdout.flush()
    sys.stderr.flush()
    # Ray's own exit handlers wait for processes that the guard kills anyway.
    os._exit(0)


if __name__ == "__main__":
    main()
