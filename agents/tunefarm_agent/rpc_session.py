"""The near side of a session: forks a confined server and talks TVM RPC to it over loopback."""

import contextlib
import os
import secrets
import signal
import socket
import time
from pathlib import Path
from typing import Any, Protocol

import tvm
from tvm import rpc

from tunefarm_agent.commands import Confinement
from tunefarm_agent.confinement import describe_exit, kill, kill_children
from tunefarm_agent.device_memory import Room, room_of
from tunefarm_agent.serving import LOG_NAME, serve
from tunefarm_agent.staging import Staging

# What TVM raises, on its own behalf or for the far side: its error kinds map to these built-in classes.
TVM_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    AssertionError,
    OSError,
    MemoryError,
)
# A dying process closes its socket a little before it can be waited for.
_DEATH_SECONDS = 2.0
_LOG_TAIL = 2000


class SessionLost(Exception):
    """The session can't be opened, or a board broke it off; no candidate is to blame."""


class Session(Protocol):
    """A connection to where candidates run.

    Attributes:
        remote: TVM's RPC session.
        device: the remote device.
        used: whether a candidate has run in it.
        pid: of its process on this host, 0 where there is none.
        staging: memory shared with that process, None where there is none.
        room: on the device, when the session was opened; None where nobody tells.
    """

    remote: Any
    device: Any
    used: bool
    pid: int
    staging: Staging | None
    room: Room | None

    def upload(self, path: str) -> Any:
        """Send a library and load it."""

    def death(self) -> str | None:
        """How the far side ended, for people, or None if it lives."""

    def death_behind(self, error: BaseException) -> str | None:
        """How the far side died, if that is why the call failed; None for an exception on a living one.

        Raises SessionLost: it died, and no candidate is to blame for that.
        """

    def close(self) -> bool:
        """Leave nothing behind. False: something survived."""


class RpcSession:
    """A session of the agent's own: one forked server and the one connection to it."""

    def __init__(self, confinement: Confinement) -> None:
        """Raises SessionLost."""
        self.used = False
        self._scratch = Path(confinement.scratch)
        self._uploads = 0
        self._exit: int | None = None
        self.staging: Staging | None = None
        self.room: Room | None = None
        self._log_start = self._log_size()
        key = secrets.token_hex(16)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(4)
            port = listener.getsockname()[1]
            parent = os.getpid()
            self.pid = os.fork()
            if self.pid == 0:
                serve(listener, key, confinement, parent)
        try:
            self.remote: Any = rpc.connect("127.0.0.1", port, key=key)
            self.staging = Staging(self.remote, self.pid)
        except TVM_ERRORS as error:
            self.close()
            raise SessionLost(f"no RPC session: {error}; {self._log_tail()}") from error
        self.device: Any = self.remote.device(confinement.place.kind, 0)
        if confinement.place.kind != "cpu":
            self._check_device()

    def _check_device(self) -> None:
        """A GPU that fell off its bus fails every candidate: that must not be charged to them. Raises SessionLost."""
        try:
            self.room = room_of(self.device)
            tvm.runtime.empty((1,), "int8", self.device)
        except TVM_ERRORS as error:
            self.close()
            room = f" ({self.room})" if self.room is not None else ""
            raise SessionLost(f"the device does not work{room}: {describe(error)}{self._log_tail()}") from error

    def upload(self, path: str) -> Any:
        """Send a library under a name of its own and load it (an upload over a loaded one kills the session)."""
        self._uploads += 1
        name = f"upload{self._uploads}.so"
        self.remote.upload(bytearray(Path(path).read_bytes()), name)
        module = self.remote.load_module(name)
        # It is mapped by now; the folder does not grow with the batch.
        with contextlib.suppress(OSError):
            (self._scratch / name).unlink()
        return module

    def death(self, patience: float = 0.0) -> str | None:
        """How the server ended ("killed by SIGSEGV", with the end of its log), or None if it lives."""
        deadline = time.monotonic() + patience
        while self._exit is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid == self.pid:
                    self._exit = status
                    break
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.001)
        return describe_exit(self._exit) + self._log_tail()

    def death_behind(self, error: BaseException) -> str | None:
        """How the server died, if that is why the call failed; None for an exception on a living one."""
        if isinstance(error, tvm.error.RPCError) or answers(self.remote):
            return None
        return self.death(patience=_DEATH_SECONDS) or "the session's connection broke" + self._log_tail()

    def close(self) -> bool:
        """Kill the server and all that came from it. False: something survived for seconds."""
        self.remote = self.device = None
        if self.staging is not None:
            self.staging.close()
            self.staging = None
        if self._exit is None:
            # Its process group first: in one stroke, before it can fork again.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            kill(self.pid)
        return kill_children(patience=_DEATH_SECONDS)

    def _log_size(self) -> int:
        try:
            return (self._scratch / LOG_NAME).stat().st_size
        except OSError:
            return 0

    def _log_tail(self) -> str:
        """What this session wrote last, one line; empty if nothing."""
        try:
            with (self._scratch / LOG_NAME).open("rb") as log:
                log.seek(max(self._log_start, self._log_size() - _LOG_TAIL))
                lines = log.read(_LOG_TAIL).decode(errors="replace").split("\n")
        except OSError:
            return ""
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {last}" if last else ""


def answers(remote: Any) -> bool:
    """Whether a session's far side lives."""
    try:
        remote.get_function("tvm.rpc.server.workpath")
    except TVM_ERRORS:
        return False
    return True


def describe(error: BaseException) -> str:
    """An exception in one readable line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = "; ".join(lines[:4]) if lines else type(error).__name__
    return text[:800]
