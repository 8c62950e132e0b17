"""Work that waits for a device: by priority, then round-robin over jobs, then first in, first out."""

import itertools
from bisect import bisect_left, insort
from collections.abc import Callable

from tunefarm_coordinator.farm.placement import Requirement

_Bucket = tuple[str, int, Requirement]


class Backlog:
    """Keeps waiting work in one ordered list for each (job, priority, requirement), of which there are few."""

    def __init__(self) -> None:
        self._buckets: dict[_Bucket, list[tuple[int, str]]] = {}
        self._place: dict[str, tuple[_Bucket, int]] = {}
        self._served: dict[str, int] = {}
        self._turn = itertools.count(1)

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, work_id: str) -> bool:
        return work_id in self._place

    def push(self, work_id: str, job_id: str, priority: int, requirement: Requirement, sequence: int) -> None:
        """Add a piece of work. `sequence` orders it in its job: work that comes back keeps its place."""
        if work_id in self._place:
            return
        bucket = (job_id, priority, requirement)
        insort(self._buckets.setdefault(bucket, []), (sequence, work_id))
        self._place[work_id] = (bucket, sequence)

    def discard(self, work_id: str) -> None:
        """Take a piece of work out, if it is in."""
        if work_id not in self._place:
            return
        bucket, sequence = self._place.pop(work_id)
        waiting = self._buckets[bucket]
        del waiting[bisect_left(waiting, (sequence, work_id))]
        if not waiting:
            del self._buckets[bucket]

    def take(self, fits: Callable[[Requirement], bool], allows: Callable[[str], bool]) -> str | None:
        """Take out the next piece of work whose requirement fits and that is allowed itself; None if none is."""
        best: tuple[int, int, int] | None = None
        choice: tuple[str, str] | None = None
        for (job_id, priority, requirement), waiting in self._buckets.items():
            turn = (-priority, self._served.get(job_id, 0))
            if (best is not None and turn > best[:2]) or not fits(requirement):
                continue
            head = next((entry for entry in waiting if allows(entry[1])), None)
            if head is not None and (best is None or (*turn, head[0]) < best):
                best, choice = (*turn, head[0]), (head[1], job_id)
        if choice is None:
            return None
        work_id, job_id = choice
        self._served[job_id] = next(self._turn)
        self.discard(work_id)
        return work_id

    def forget_job(self, job_id: str) -> None:
        """The job is over: its place in the round is free."""
        self._served.pop(job_id, None)
