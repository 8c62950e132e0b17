"""A session with the plain TVM RPC server of a board: no process of ours is there to confine or to kill.

The stock server serves one client at a time, and dies for good when a kernel crashes: then the board is lost until
somebody starts its server again. What the server can do, it is asked to: it ends a session that outlives its lease.
"""

import contextlib
import gc
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tvm
from tvm import rpc

from tunefarm_agent.commands import Confinement
from tunefarm_agent.device_memory import Room
from tunefarm_agent.rpc_session import TVM_ERRORS, SessionLost, answers, describe
from tunefarm_agent.staging import Staging

# For the handshake, or for a tracker to find the board free.
_CONNECT_SECONDS = 10.0
# What a session may go on for after its lease's time, before the server ends it.
_GRACE_SECONDS = 5.0


class BoardSession:
    """One connection to a board's server; see `rpc_session.Session`."""

    def __init__(self, confinement: Confinement) -> None:
        """Raises SessionLost."""
        self.used = False
        self.pid = 0
        self.staging: Staging | None = None
        self.room: Room | None = None
        self._place = confinement.place
        self._seconds = confinement.seconds
        self._uploads = 0
        self.remote: Any = self._connect()
        self.device: Any = self.remote.device(self._place.kind, 0)

    def upload(self, path: str) -> Any:
        self._uploads += 1
        name = f"upload{self._uploads}.so"
        self.remote.upload(bytearray(Path(path).read_bytes()), name)
        module = self.remote.load_module(name)
        with contextlib.suppress(*TVM_ERRORS):
            self.remote.remove(name)
        return module

    def death(self) -> str | None:
        return None if self.remote is not None and answers(self.remote) else "the board's session broke off"

    def death_behind(self, error: BaseException) -> str | None:
        if isinstance(error, tvm.error.RPCError) or self.death() is None:
            return None
        self._drop()
        try:
            probe = self._connect()
        except SessionLost as lost:
            raise SessionLost(f"the session broke off while a candidate ran, and {lost}") from error
        del probe
        return "the board's session broke off, and its server lives"

    def close(self) -> bool:
        self._drop()
        return True

    def _drop(self) -> None:
        """The connection ends with the last thing that refers to it, some of which refer to one another."""
        self.remote = self.device = None
        gc.collect()

    def _connect(self) -> Any:
        host, _, port = self._place.address.rpartition(":")
        host = host.strip("[]")
        seconds = round(self._seconds + _GRACE_SECONDS) if self._seconds else 0
        try:
            with _cut_after(_CONNECT_SECONDS):
                if self._place.tracker:
                    tracker = rpc.connect_tracker(host, int(port))
                    return tracker.request(self._place.key, session_timeout=seconds, max_retry=1)
                return rpc.connect(host, int(port), key=self._place.key, session_timeout=seconds)
        except TVM_ERRORS as error:
            raise SessionLost(
                f"the board {self._place.key} opens no session ({describe(error)}): is the RPC server at "
                f"{self._place.address} running, with that key, and free? A crash ends it for good: start it again"
            ) from error


@contextlib.contextmanager
def _cut_after(seconds: float) -> Iterator[None]:
    """Shuts down the connections that are made in this block if it takes longer: TVM waits for answers for ever."""
    before = _sockets()

    def cut() -> None:
        for descriptor in _sockets() - before:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _sockets() -> set[int]:
    descriptors = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                descriptors.add(int(entry.name))
    return descriptors
