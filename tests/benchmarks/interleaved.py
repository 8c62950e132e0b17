"""Whole models timed in turn, each in its own process, and ratios with their intervals."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CONTENDER = Path(__file__).with_name("contender.py")
# Thread pools spin for a while after a call; the next contender waits until they sleep. With 0.05 s and three
# TVM processes, ONNX Runtime took three times as long as alone.
SETTLE_SECONDS = 0.3


class ContenderFailed(Exception):
    """A contender's process ended: it can't run the model, or died in it."""


@dataclass(frozen=True)
class Ratio:
    """Median over rounds of (numerator / denominator) and the bootstrap 95% interval of that median."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Turn:
    """How a contender is timed in a round: after calls that fill `warm_up` seconds (one at least), `calls` calls or as
    many as fill `seconds`."""

    calls: int
    seconds: float
    warm_up: float


# As many calls as fill a tenth of a second, after ones in which threads wake and caches and clock come to rest: ten
# calls right after the pause took twice their time in models of half a millisecond.
STEADY = Turn(calls=3, seconds=0.1, warm_up=0.05)


class Contender:
    """A contender.py process; its arguments are those of the program.

    Attributes:
        open_seconds: until library and model were loaded.
        first_seconds: the first call.
    """

    def __init__(self, name: str, *arguments: str, cores: int) -> None:
        """Raises ContenderFailed."""
        self.name = name
        environment = {**os.environ, "TVM_NUM_THREADS": str(cores)}
        self._process = subprocess.Popen(
            [sys.executable, str(CONTENDER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            opened = self._answer()
        except ContenderFailed:
            self.close()
            raise
        self.open_seconds: float = opened["open_seconds"]
        self.first_seconds: float = opened["first_seconds"]

    def time(self, turn: Turn) -> float:
        """Median of the calls of a turn in seconds. Raises ContenderFailed."""
        return float(statistics.median(self._ask(vars(turn))))

    def write_outputs(self, path: Path) -> None:
        """Its outputs by name, into an .npz. Raises ContenderFailed."""
        self._ask({"outputs": str(path)})

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _ask(self, request: Any) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContenderFailed(f"{self.name} has ended") from None
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            try:
                return json.loads(line)
            except ValueError:
                # A runtime's own words.
                print(f"{self.name}: {line.rstrip()}", file=sys.stderr)
        raise ContenderFailed(f"{self.name} can't run the model: its process ended with {self._process.wait()}")


def interleave(contenders: list[Contender], rounds: int, turn: Turn = STEADY) -> dict[str, list[float]]:
    """Seconds of each contender in each round; every round times all of them, in a rotating order."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        start = number % len(contenders)
        for contender in contenders[start:] + contenders[:start]:
            time.sleep(SETTLE_SECONDS)
            seconds[contender.name].append(contender.time(turn))
    return seconds


def ratio(numerator: list[float], denominator: list[float], seed: int = 0) -> Ratio:
    """Paired by round (Duet benchmarking, Bulej et al., ICPE'20); percentile bootstrap with 10,000 resamples."""
    ratios = np.array(numerator) / np.array(denominator)
    picks = np.random.default_rng(seed).integers(0, len(ratios), (10_000, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    return Ratio(float(np.median(ratios)), float(low), float(high))
