"""Tunes the cases through one coordinator and one agent, which this starts and ends, and keeps what happened when."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from case_files import Case

from tunefarm import Client
from tunefarm.embedded import Embedded, EmbeddedSettings
from tunefarm.errors import TunefarmError

POLL_SECONDS = 1.0
DEVICE_SECONDS = 120.0
# A job that was told to end (Ctrl-C) gives its devices back first.
CANCEL_SECONDS = 20.0


@dataclass(frozen=True)
class Wish:
    """What `tunefarm tune` is called with. `deadline`: on time.monotonic's clock, no job goes on after it."""

    target: str
    trials_per_kernel: int
    max_seconds: float
    allow_tf32: bool
    deadline: float

    def arguments(self) -> list[str]:
        arguments = ["--target", self.target, "--trials-per-kernel", str(self.trials_per_kernel)]
        arguments += ["--max-seconds", f"{self.max_seconds:g}", "--seed", "0"]
        return [*arguments, "--allow-tf32"] if self.allow_tf32 else arguments


@dataclass
class Tuned:
    """One `tunefarm tune`: its process, and what came of it.

    Attributes:
        document: what the command printed (`--json`); empty if it printed nothing.
        states: seconds from the start of the command until the job was first seen in a state.
        first_outcome: seconds until the first trial was seen charged.
        error: empty where there is a package.
    """

    case: Case
    package: Path
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    seconds: float = 0.0
    document: dict[str, Any] = field(default_factory=dict)
    states: dict[str, float] = field(default_factory=dict)
    first_outcome: float | None = None
    error: str = ""

    @property
    def tuning(self) -> tuple[float, float] | None:
        """When the stage TUNING began and ended, on time.monotonic's clock, to a poll's exactness."""
        begun = self.states.get("TUNING")
        ended = min((at for at in self.states.values() if begun is not None and at > begun), default=None)
        return None if begun is None or ended is None else (self.started + begun, self.started + ended)

    @property
    def tuning_seconds(self) -> float | None:
        return None if self.tuning is None else self.tuning[1] - self.tuning[0]


@dataclass(frozen=True)
class _Settings(EmbeddedSettings):
    """The agent owns the one device that is checked."""

    device: str = "cuda0"

    def agent_arguments(self, address: Any, lifeline_fd: int) -> list[str]:
        return [*super().agent_arguments(address, lifeline_fd), "--device", self.device]


@contextlib.contextmanager
def farm(folder: Path, device: str) -> Iterator[str]:
    """The address of a coordinator with one agent, here while entered; they end with this process at the latest.

    Raises EmbeddedFailed, RuntimeError: one of them does not come up.
    """
    embedded = Embedded(_Settings(data_dir=folder, device=device))
    try:
        address = str(embedded.address())
        deadline = time.monotonic() + DEVICE_SECONDS
        with Client(address) as client:
            while not client.devices():
                embedded.check()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the agent did not register {device}: see its log in {folder / 'logs'}")
                time.sleep(POLL_SECONDS)
        yield address
    finally:
        embedded.close()


def tune_all(
    address: str, cases: Sequence[Case], work: Path, wish: Wish, at_once: int, say: Callable[[str], None]
) -> Iterator[Tuned]:
    """Tunes the cases, `at_once` at a time; each comes when it has ended. One that fails says why, the others go on."""
    waiting = [Tuned(case, work / "packages" / case.name) for case in cases]
    (work / "packages").mkdir(exist_ok=True)
    running: list[Tuned] = []
    watch = _Watch(address, say)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_begin(waiting.pop(0), address, wish, work))
            time.sleep(POLL_SECONDS)
            watch.look(running)
            late = time.monotonic() > wish.deadline
            for tuned in [each for each in running if late or _has_ended(each)]:
                _finish(tuned, work, late)
                running.remove(tuned)
                say(f"{tuned.case.name}: {tuned.error or 'tuned'} after {tuned.seconds:.1f} s")
                yield tuned
            if late:
                waiting.clear()
    finally:
        for tuned in running:
            _stop(tuned)


def _begin(tuned: Tuned, address: str, wish: Wish, work: Path) -> Tuned:
    command = [_program("tunefarm"), "tune", str(tuned.case.model), *wish.arguments(), "--connect", address]
    tuned.started = time.monotonic()
    with (work / f"{tuned.case.name}.json").open("w") as out, (work / f"{tuned.case.name}.log").open("w") as log:
        tuned.process = subprocess.Popen(
            [*command, "--name", tuned.case.name, "--json", "--out", str(tuned.package)],
            stdout=out,
            stderr=log,
            text=True,
        )
    return tuned


def _program(name: str) -> str:
    """The command beside this Python, or on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no {name} command beside {sys.executable} or on PATH")
    return found


def _has_ended(tuned: Tuned) -> bool:
    return tuned.process is not None and tuned.process.poll() is not None


def _stop(tuned: Tuned) -> None:
    """Ctrl-C, as a user would; then SIGKILL."""
    process = tuned.process
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(CANCEL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _finish(tuned: Tuned, work: Path, late: bool) -> None:
    late = late and not _has_ended(tuned)
    _stop(tuned)
    tuned.seconds = time.monotonic() - tuned.started
    with contextlib.suppress(ValueError):
        tuned.document = json.loads((work / f"{tuned.case.name}.json").read_text())
    if (tuned.package / "manifest.json").exists():
        return
    log = (work / f"{tuned.case.name}.log").read_text().strip().splitlines()
    told = tuned.document.get("error", {}).get("message") or (log[-1] if log else "no word of why")
    tuned.error = "the check's time was up" if late else f"failed: {told}"


class _Watch:
    """Looks at the jobs from outside, as `tunefarm jobs` does."""

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self._client = Client(address)
        self._say = say
        self._told: dict[str, str] = {}

    def look(self, running: Sequence[Tuned]) -> None:
        try:
            jobs = {job.name: job for job in self._client.jobs()}
        except TunefarmError:
            return  # it is asked again in a second; the commands themselves tell of what stays wrong
        for tuned in running:
            job = jobs.get(tuned.case.name)
            if job is None:
                continue
            now = time.monotonic() - tuned.started
            tuned.states.setdefault(str(job.state), now)
            if job.trials.charged and tuned.first_outcome is None:
                tuned.first_outcome = now
            self._tell(tuned, f"{str(job.state).lower()}", f"{job.trials.charged} of {job.trials.budget} trials")

    def _tell(self, tuned: Tuned, state: str, trials: str) -> None:
        if self._told.get(tuned.case.name) != state:
            self._told[tuned.case.name] = state
            self._say(f"{tuned.case.name}: {state}, {trials}")
