"""Places at which tests kill the coordinator: what `kill -9` at the worst moment leaves has to be enough to go on."""

import os
import signal
from collections import Counter
from dataclasses import dataclass
from enum import Enum

from tunefarm_coordinator.errors import InvalidInput


class FaultPoint(Enum):
    """Where in a job's life. What a trainer or a builder can be made to die of: `compute.settings.FaultPlan`."""

    BEFORE_DURABLE_WRITE = "before_durable_write"
    """Something happened, and the journal does not hold it yet."""
    AFTER_DURABLE_WRITE = "after_durable_write"
    """The journal holds it, the brain does not know it yet."""
    MID_LEASE = "mid_lease"
    """Some outcomes of a round are in, the others are not."""
    DURING_FINALS = "during_finals"
    """Some groups of finalists are compared, the others are not."""
    DURING_PACKAGING = "during_packaging"
    """The tuned model is compiled, the untuned one is not."""
    BETWEEN_JOURNAL_AND_SNAPSHOT = "between_journal_and_snapshot"
    """The journal has the job in a new state, the job's own row still in the one before."""


@dataclass(frozen=True)
class Fault:
    """Death at the n-th `passing` (from 1) of `point`."""

    point: FaultPoint
    passing: int

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Reads `mid_lease:3`. Raises InvalidInput."""
        name, _, number = text.partition(":")
        names = [point.value for point in FaultPoint]
        if name not in names or not number.isdigit() or int(number) < 1:
            raise InvalidInput(f"{text!r} is no fault point: give NAME:N, NAME one of {', '.join(names)}, N from 1")
        return cls(FaultPoint(name), int(number))


class FaultPoints:
    """Counts the passings, and kills this process at the one that was asked for; without a fault, does nothing."""

    def __init__(self, fault: Fault | None = None) -> None:
        self._fault = fault
        self._passed: Counter[FaultPoint] = Counter()

    def passing(self, point: FaultPoint) -> None:
        """Called at each point, every time. Does not return where the fault lies."""
        self._passed[point] += 1
        if self._fault == Fault(point, self._passed[point]):
            # What a handler could still do on its way out is just what a crash does not.
            os.kill(os.getpid(), signal.SIGKILL)
