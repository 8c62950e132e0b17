"""Times the packages against PyTorch on one device: processes that hold their models there, asked in turn."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from case_files import HERE, Case

from tunefarm_coordinator.models.matching import match, relative_error, tolerance

# The package, and once more in another process: what differs between the two is noise.
PACKAGE, AGAIN = "package", "package again"
CALLS_PER_TURN = 30


@dataclass(frozen=True)
class Contender:
    """`name` within its case; `asked` as its process knows it."""

    name: str
    timer: "Timer"
    asked: str
    output: Path


@dataclass
class Timed:
    """One case: seconds of each contender by round (medians of a turn), how far its output is off, what is missing."""

    case: Case
    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    matches: dict[str, bool] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Timer:
    """A timing process (`timer_protocol`)."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def ready(self) -> dict[str, Any]:
        """What it says of its contenders, once they are loaded. Raises RuntimeError if it is not to be had."""
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        facts: dict[str, Any] = answer["ready"]
        return facts

    def time(self, contender: str, calls: int) -> float:
        """Median of `calls` calls, in seconds. Raises RuntimeError if the process died."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"contender": contender, "calls": calls}) + "\n")
            self._process.stdin.flush()
        return float(np.median(self._answer()["seconds"]))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}: its words are in {self._log}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class TimingRun:
    """Opens contenders case by case, and times them. Leaves no process behind when it is left."""

    def __init__(
        self, work: Path, rounds: int, torch_command: Sequence[str] | None, torch_cases: Sequence[Case]
    ) -> None:
        """`torch_command`: starts `torch_timer.py` with its options, models' folder and cases left out."""
        self._work = work
        self._rounds = rounds
        self._timers = contextlib.ExitStack()
        self.torch_facts: dict[str, Any] = {}
        self._torch: Timer | None = None
        if torch_command is not None and torch_cases:
            names = ",".join(case.name for case in torch_cases)
            command = [*torch_command, str(work / "models"), names]
            self._torch = self._open("PyTorch", command)

    def __enter__(self) -> "TimingRun":
        return self

    def __exit__(self, *_: object) -> None:
        self._timers.close()

    def wait_for_torch(self) -> str:
        """Why PyTorch is not timed; empty where it is."""
        try:
            self.torch_facts = self._torch.ready() if self._torch is not None else {}
        except RuntimeError as error:
            return str(error)
        return ""

    def case(self, case: Case, package: Path, allow_tf32: bool) -> Timed:
        """One case: the package twice, and PyTorch's ways. What fails is missing, and says why."""
        timed = Timed(case)
        with self._packages(case, package) as timers:
            contenders = [*self._ours(timed, timers), *self._theirs(timed)]
            for contender in contenders:
                self._check(timed, contender, allow_tf32)
            for number in range(self._rounds):
                self._round(timed, contenders, number % len(contenders) if contenders else 0)
        return timed

    def _open(self, name: str, command: Sequence[str]) -> Timer:
        timer = Timer(name, command, self._work / "timing.log")
        self._timers.callback(timer.close)
        return timer

    @contextlib.contextmanager
    def _packages(self, case: Case, package: Path) -> Iterator[dict[str, Timer]]:
        with contextlib.ExitStack() as opened:
            timers = {}
            for name in (PACKAGE, AGAIN):
                output = self._output(case, name)
                command = [sys.executable, str(HERE / "package_timer.py"), str(package), str(case.arrays), str(output)]
                timers[name] = Timer(f"{case.name}: {name}", command, self._work / "timing.log")
                opened.callback(timers[name].close)
            yield timers

    def _output(self, case: Case, name: str) -> Path:
        return self._work / f"{case.name}-{name.replace(' ', '-')}.npy"

    def _ours(self, timed: Timed, timers: dict[str, Timer]) -> Iterator[Contender]:
        for name, timer in timers.items():
            try:
                timed.facts[name] = timer.ready()["package"]
            except RuntimeError as error:
                timed.missing[name] = str(error)
                continue
            yield Contender(name, timer, "package", self._output(timed.case, name))

    def _theirs(self, timed: Timed) -> Iterator[Contender]:
        for asked, facts in self.torch_facts.items():
            case, _, way = asked.partition("/")
            if case != timed.case.name or self._torch is None:
                continue
            if "error" in facts:
                timed.missing[f"PyTorch {way}"] = facts["error"]
                continue
            timed.facts[f"PyTorch {way}"] = facts
            yield Contender(f"PyTorch {way}", self._torch, asked, self._work / "models" / f"{case}-{way}.npy")

    def _check(self, timed: Timed, contender: Contender, allow_tf32: bool) -> None:
        """Outputs against the case's, by the tolerance of the dtype that the model has."""
        actual = np.load(contender.output)
        with np.load(timed.case.arrays) as arrays:
            expected = arrays["expected"]
        bound = tolerance(timed.case.dtype, tf32=allow_tf32)
        actual = actual.astype(np.float32)
        timed.errors[contender.name] = relative_error(actual, expected)
        timed.matches[contender.name] = match(actual, expected, bound.relative, bound.absolute)

    def _round(self, timed: Timed, contenders: Sequence[Contender], first: int) -> None:
        """Every contender one turn; each round begins with another one."""
        for contender in (*contenders[first:], *contenders[:first]):
            if contender.name in timed.missing:
                continue
            try:
                seconds = contender.timer.time(contender.asked, CALLS_PER_TURN)
            except RuntimeError as error:
                timed.missing[contender.name] = str(error)
                timed.seconds.pop(contender.name, None)
                continue
            timed.seconds.setdefault(contender.name, []).append(seconds)
