"""A coordinator and an agent on this machine, for as long as one client needs them."""

from __future__ import annotations

import atexit
import dataclasses
import json
import os
import select
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tunefarm.address import Address, parse_address
from tunefarm.errors import START_ERRORS, EmbeddedFailed, Internal, InvalidInput
from tunefarm.extras import require_extras
from tunefarm.processes import Child, Lifeline, stop_children

CLOSE_SECONDS = 10.0
_KEPT_LOGS = 10
_READY_LINE_BYTES = 1 << 20


def default_data_dir(environment: Mapping[str, str] | None = None) -> Path:
    """`$XDG_DATA_HOME/tunefarm`, or `~/.local/share/tunefarm`."""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_DATA_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return root / "tunefarm"


@dataclasses.dataclass(frozen=True)
class EmbeddedSettings:
    """How to start the two. `agent=False`: the coordinator alone, to read what earlier jobs left."""

    data_dir: Path | None = None  # None: default_data_dir(), chosen by each program for itself
    store: str | None = None
    agent: bool = True
    ready_seconds: float = 180.0
    coordinator_command: tuple[str, ...] = (sys.executable, "-m", "tunefarm_coordinator")
    agent_command: tuple[str, ...] = (sys.executable, "-m", "tunefarm_agent")
    check_extras: bool = True

    def coordinator_arguments(self, lifeline_fd: int, ready_fd: int) -> list[str]:
        arguments = [*self.coordinator_command, "serve", "--listen", "127.0.0.1:0"]
        # Whoever tunes one model did not ask for what another command left unfinished.
        arguments += ["--leave-interrupted", "--lifeline-fd", str(lifeline_fd), "--ready-fd", str(ready_fd)]
        if self.store is not None:
            arguments += ["--store", self.store]
        if self.data_dir is not None:
            arguments += ["--data-dir", str(self.data_dir)]
        return arguments

    def agent_arguments(self, address: Address, lifeline_fd: int) -> list[str]:
        # A folder of its own: an agent that serves another coordinator from this machine keeps its own.
        folder = (self.data_dir or default_data_dir()) / "agent"
        arguments = [*self.agent_command, "run", "--connect", str(address), "--state-dir", str(folder)]
        return [*arguments, "--lifeline-fd", str(lifeline_fd)]


class Embedded:
    """Starts both at the first need of an address. Safe to use from several threads.

    Starting raises NotInstalled, StoreError and InvalidInput (the coordinator's own words), and
    EmbeddedFailed with the end of the log where a program died.
    """

    def __init__(
        self,
        settings: EmbeddedSettings,
        notice: Callable[[str], None] | None = None,
        remark: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self._notice = notice or (lambda _: None)
        self._remark = remark or (lambda _: None)
        self._lock = threading.Lock()
        self._lifeline: Lifeline | None = None
        self._children: list[Child] = []
        self._address: Address | None = None

    def address(self) -> Address:
        with self._lock:
            if self._address is None:
                try:
                    self._address = self._start()
                except BaseException:
                    self._stop()
                    raise
            return self._address

    def check(self) -> None:
        """Raises EmbeddedFailed if one of the two has ended by itself."""
        for child in self._children:
            if child.exited:
                raise EmbeddedFailed(_death(child, "ended unexpectedly"))

    def close(self) -> None:
        """Stops both, and whatever they left in their process groups. May be called again."""
        with self._lock:
            self._stop()
            self._address = None

    def _start(self) -> Address:
        if self.settings.check_extras:
            needed = ["coordinator", "agent"] if self.settings.agent else ["coordinator"]
            require_extras(needed, "tuning on this machine")
        logs = self._log_folder()
        atexit.register(self.close)
        self._lifeline = Lifeline()
        self._notice("starting the coordinator")
        address = self._start_coordinator(self._lifeline, logs)
        if self.settings.agent:
            self._notice("starting the device agent")
            command = self.settings.agent_arguments(address, self._lifeline.read_fd)
            self._spawn("agent", command, logs, [self._lifeline.read_fd])
        return address

    def _start_coordinator(self, lifeline: Lifeline, logs: Path) -> Address:
        ready_read, ready_write = os.pipe()
        try:
            try:
                command = self.settings.coordinator_arguments(lifeline.read_fd, ready_write)
                child = self._spawn("coordinator", command, logs, [lifeline.read_fd, ready_write])
            finally:
                os.close(ready_write)
            line = _read_line(ready_read, child, self.settings.ready_seconds)
        finally:
            os.close(ready_read)
        address, interrupted = _read_ready(line, child)
        for job_id in interrupted:
            self._remark(f"job {job_id} was interrupted: `{self._command('job', 'resume', job_id)}` goes on with it")
        return address

    def _command(self, *words: str) -> str:
        """A command on the same jobs, quoted for a shell."""
        where = ("--data-dir", str(self.settings.data_dir)) if self.settings.data_dir is not None else ()
        return shlex.join(["tunefarm", *words, *where])

    def _spawn(self, name: str, command: list[str], logs: Path, fds: list[int]) -> Child:
        log = logs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        child = Child(name, command, log, fds)
        self._children.append(child)
        _prune(logs, name)
        return child

    def _stop(self) -> None:
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None
        children, self._children = self._children, []
        if children:
            self._notice("stopping what was started")
            stop_children(children, CLOSE_SECONDS)
        atexit.unregister(self.close)

    def _log_folder(self) -> Path:
        logs = (self.settings.data_dir or default_data_dir()) / "logs"
        try:
            logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"cannot write the data folder {logs.parent}: {error.strerror}") from error
        return logs


def _read_line(fd: int, child: Child, seconds: float) -> bytes:
    """The ready line. Raises EmbeddedFailed when the child dies, or is not ready in time, without one."""
    deadline = time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n") and len(line) < _READY_LINE_BYTES:
        if time.monotonic() > deadline:
            raise EmbeddedFailed(_death(child, f"was not ready after {seconds:.0f} s"))
        readable, _, _ = select.select([fd], [], [], 0.2)
        if readable:
            data = os.read(fd, 65536)
            if not data:
                raise EmbeddedFailed(_death(child, "ended before it was ready"))
            line += data
    return line


def _read_ready(line: bytes, child: Child) -> tuple[Address, list[str]]:
    """Where the coordinator listens, and the jobs that it found unfinished."""
    try:
        said = json.loads(line)
        if "error" in said:
            kind = START_ERRORS.get(said["error"]["kind"], Internal)
            raise kind(said["error"]["message"])
        return parse_address(said["address"]), [str(job_id) for job_id in said.get("interrupted", ())]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise EmbeddedFailed(_death(child, f"said {line[:200]!r} instead of its address")) from error


def _death(child: Child, what: str) -> str:
    tail = child.log_tail()
    end = f"; the end of {child.log}:\n{tail}" if tail else f"; its log is {child.log}"
    return f"the {child.name} on this machine {what}{end}"


def _prune(logs: Path, name: str) -> None:
    for old in sorted(logs.glob(f"{name}-*.log"))[:-_KEPT_LOGS]:
        old.unlink(missing_ok=True)
