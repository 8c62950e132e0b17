"""Whole models timed in turn, each in its own process, and ratios with their intervals."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONTENDER = Path(__file__).with_name("contender.py")
# Thread pools spin for a while after a call; the next contender waits until they sleep. With 0.05 s and three
# TVM processes, ONNX Runtime took three times as long as alone.
SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Ratio:
    """Median over rounds of (numerator / denominator) and the bootstrap 95% interval of that median."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Contender:
    """A contender.py process; its arguments are those of the program."""

    def __init__(self, name: str, *arguments: str, cores: int) -> None:
        self.name = name
        environment = {**os.environ, "TVM_NUM_THREADS": str(cores)}
        self._process = subprocess.Popen(
            [sys.executable, str(CONTENDER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        if self._line() != "ready":
            raise RuntimeError(f"{name} did not start")

    def time(self, calls: int) -> float:
        """Median of `calls` calls, in seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        return float(statistics.median(json.loads(self._line())))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def interleave(contenders: list[Contender], rounds: int, calls: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; every round times all of them, in a rotating order."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        start = number % len(contenders)
        for contender in contenders[start:] + contenders[:start]:
            time.sleep(SETTLE_SECONDS)
            seconds[contender.name].append(contender.time(calls))
    return seconds


def ratio(numerator: list[float], denominator: list[float], seed: int = 0) -> Ratio:
    """Paired by round (Duet benchmarking, Bulej et al., ICPE'20); percentile bootstrap with 10,000 resamples."""
    ratios = np.array(numerator) / np.array(denominator)
    picks = np.random.default_rng(seed).integers(0, len(ratios), (10_000, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    return Ratio(float(np.median(ratios)), float(low), float(high))
