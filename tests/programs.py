"""Our programs as a user starts them: real processes, real sockets, an empty data folder."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent


def environment(home: Path) -> dict[str, str]:
    """The machine's own, with a home of its own."""
    return {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_STATE_HOME": str(home / "state")}


def tunefarm(home: Path, *arguments: str, timeout: float = 280.0, faults: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command to its end. `faults`: see `compute.settings.FaultPlan`."""
    return subprocess.run(
        [str(BIN / "tunefarm"), *arguments],
        env={**environment(home), "TUNEFARM_COMPUTE_FAULTS": faults},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Program:
    """One of ours in the background, its output in a file."""

    def __init__(
        self,
        home: Path,
        name: str,
        *command: str,
        faults: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """`faults`: environment variables that have it fail; see `coordinator`. `within`: a command that runs it."""
        # One log for each start: what an earlier one of that name said is not this one's.
        self.log = home / f"{name}-{time.monotonic_ns()}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*within, str(BIN / command[0]), *command[1:]],
                env={**environment(home), **(faults or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, seconds: float = 60.0) -> re.Match[str]:
        """The first match in the output. Raises AssertionError, with the output, if none comes."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found.extend(re.finditer(pattern, self.text()))
            return bool(found) or self.process.poll() is not None

        until(seen, seconds, lambda: f"no {pattern!r} in {self.text()}")
        assert found, f"ended with {self.process.poll()}: {self.text()}"
        return found[-1]

    def ended(self, seconds: float = 120.0) -> int:
        """Waits for its end; its exit code, -9 where it was killed. AssertionError, with the output, if it lives on."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still alive after {seconds:g} s: {self.text()}") from None

    def kill(self) -> None:
        """SIGKILL, to the process alone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def until(condition: Callable[[], bool], seconds: float, message: Callable[[], str] | str) -> None:
    """Waits for the condition; AssertionError with the message after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message if isinstance(message, str) else message())
        time.sleep(0.05)


def ours(home: Path) -> list[psutil.Process]:
    """Every live process that was started with this home: nothing of ours may be left by a run that ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def assert_nothing_left(home: Path, seconds: float = 15.0) -> None:
    until(lambda: not ours(home), seconds, lambda: f"left behind: {[p.cmdline() for p in ours(home)]}")


def document(done: subprocess.CompletedProcess[str]) -> dict:  # type: ignore[type-arg]
    """The one JSON document of a --json call."""
    assert done.stdout.strip(), f"exit {done.returncode}, stderr: {done.stderr}"
    result: dict = json.loads(done.stdout)  # type: ignore[type-arg]
    return result


@contextlib.contextmanager
def coordinator(
    home: Path, port: int = 0, *arguments: str, fault_point: str = "", compute_faults: str = ""
) -> Iterator[tuple[Program, str]]:
    """A coordinator and its address. `fault_point`: see `fault_points.Fault`; `compute_faults`: `FaultPlan`."""
    faults = {"TUNEFARM_FAULT_POINT": fault_point, "TUNEFARM_COMPUTE_FAULTS": compute_faults}
    command = ("tunefarm", "serve", "--listen", f"127.0.0.1:{port}", *arguments)
    program = Program(home, "coordinator", *command, faults=faults)
    try:
        address = program.wait_for(r"127\.0\.0\.1:[1-9]\d*", 90).group(0)
        yield program, address
    finally:
        program.stop()


@contextlib.contextmanager
def agent(home: Path, address: str, *arguments: str) -> Iterator[Program]:
    program = Program(home, "agent", "tunefarm-agent", "run", "--connect", address, *arguments)
    try:
        yield program
    finally:
        program.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
