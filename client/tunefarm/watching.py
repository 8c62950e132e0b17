"""Following a job to its end, over streams that break."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from tunefarm.errors import Unavailable, Unreachable
from tunefarm.job import Job
from tunefarm.wire import job_from
from tunefarm_proto.v1 import tuning_pb2

OUTAGE_SECONDS = 120.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


class WatchCalls(Protocol):
    """The one call that watching needs."""

    def watch(self, job_id: str, after_sequence: int) -> Generator[tuning_pb2.JobUpdate]: ...


class Outage:
    """How long nothing has answered: says how long to pause, and gives up in the end."""

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def over(self) -> None:
        """Something answered."""
        self._since = None
        self._pause = _FIRST_PAUSE

    def next_pause(self, error: Unavailable) -> float:
        """Seconds to pause before the next try; raises `error` once the limit has passed."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._limit:
            raise error
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        return pause


def watch_job(
    calls: WatchCalls,
    job_id: str,
    *,
    outage_seconds: float = OUTAGE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Job]:
    """The job now, and after every change, until it is terminal.

    A stream that breaks is resumed after the last sequence seen. Raises Unavailable when no stream could
    be had for `outage_seconds`, and whatever WatchJob answers otherwise (NotFound, ...).
    """
    sequence = 0
    outage = Outage(outage_seconds, clock)
    while True:
        lost = Unavailable(f"the stream of job {job_id} ended before the job did")
        try:
            with contextlib.closing(calls.watch(job_id, sequence)) as updates:
                for update in updates:
                    outage.over()
                    sequence = max(sequence, update.sequence)
                    job = job_from(update.job)
                    yield job
                    if job.state.terminal:
                        return
        except Unreachable:
            raise
        except Unavailable as error:
            lost = error
        sleep(outage.next_pause(lost))
