"""How a job's estimated latency fell while a command followed it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tunefarm.job import Job


class History:
    """Begins when it is made.

    Attributes:
        points: of each change `seconds` since then, `trials` charged and `latency_ms`, the model's estimate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.points: list[dict[str, Any]] = []
        self._clock = clock
        self._began = clock()

    def update(self, job: Job) -> None:
        """Takes the job as it is now."""
        latency = job.estimated_latency_ms
        if latency is None or (self.points and self.points[-1]["latency_ms"] == latency):
            return
        seconds = round(self._clock() - self._began, 3)
        self.points.append({"seconds": seconds, "trials": job.trials.charged, "latency_ms": latency})
