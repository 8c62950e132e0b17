"""Child processes in sessions of their own, tied to this process by a pipe.

The lifeline: children hold the read end of a pipe whose write end only this process has. It closes when
this process ends in whatever way, SIGKILL included, and the children take that as their order to stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_TERMINATE_SECONDS = 3.0
_TICK_SECONDS = 0.05


class Lifeline:
    """A pipe; `read_fd` is inherited by the children that are given it, the write end by nobody."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()  # both close on exec, unless passed on purpose

    def close(self) -> None:
        """Orders the children to stop. May be called again."""
        for fd in (self._write_fd, self.read_fd):
            if fd >= 0:
                os.close(fd)
        self.read_fd = self._write_fd = -1


class Child:
    """A process that leads its own session and group; its output goes to `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path, pass_fds: Sequence[int]) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )

    @property
    def exited(self) -> bool:
        """Whether the process has ended. It stays a zombie until `reap`, so that its group keeps its id."""
        if self._process.returncode is not None:
            return True
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    def signal_group(self, number: signal.Signals) -> None:
        """Signals everything that is left of the child's group."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def reap(self) -> None:
        """Waits for the ended process; its group's id may be used again from here on."""
        self._process.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that the process wrote."""
        with contextlib.suppress(OSError):
            text = self.log.read_bytes()[-8192:].decode(errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return ""


def stop_children(children: Sequence[Child], grace_seconds: float) -> None:
    """Waits for children that were told to stop, then ends what is left of their groups: TERM, then KILL."""
    try:
        if not _wait_for(lambda: all(child.exited for child in children), grace_seconds):
            for child in children:
                if not child.exited:
                    child.signal_group(signal.SIGTERM)
            _wait_for(lambda: all(child.exited for child in children), _TERMINATE_SECONDS)
    finally:  # also on a second Ctrl-C
        for child in children:
            child.signal_group(signal.SIGKILL)
            child.reap()


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_TICK_SECONDS)
    return True
