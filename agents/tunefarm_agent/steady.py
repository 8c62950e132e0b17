"""Calls that follow one another: what a contender of a benchmark is timed by, whatever runs it."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """`calls`, or as many as fill `seconds`; before them one, or as many as fill `warm_up` seconds: after a pause the
    clock is low, caches hold what others left, and threads sleep."""

    calls: int
    seconds: float = 0.0
    warm_up: float = 0.0


def timed(call: Callable[[], object], turn: Turn, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of each call of the turn, without those that warm up."""
    warm_up(call, turn.warm_up, clock)
    ends_at = clock() + turn.seconds
    seconds: list[float] = []
    while len(seconds) < turn.calls or clock() < ends_at:
        started = clock()
        call()
        seconds.append(clock() - started)
    return seconds


def warm_up(call: Callable[[], object], seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
    """One call, or as many as fill the seconds."""
    warm_at = clock() + seconds
    call()
    while clock() < warm_at:
        call()
