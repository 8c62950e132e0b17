"""Work that waits for a device: by priority, then the job that had least of the devices' time, then first come.

Time is shared for each device class by itself, by start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair
Queueing", SIGCOMM 1996): each job has a virtual time, the seconds of that class's devices that it had; the least goes
first, and a job that comes (again) starts where the others are, so that it neither waits for them nor catches up.
"""

import itertools
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable

from tunefarm_coordinator.farm.placement import Requirement

_Bucket = tuple[str, int, Requirement]
# What an item is taken to last before anything is known of its job (seconds).
_FIRST_GUESS = 1.0
# How much of a job's pace the newest lease decides.
_NEWEST = 0.3


class Backlog:
    """Keeps waiting work in one ordered list for each (job, priority, requirement), of which there are few."""

    def __init__(self) -> None:
        self._buckets: dict[_Bucket, list[tuple[int, str]]] = {}
        self._place: dict[str, tuple[_Bucket, int]] = {}
        self._waiting: Counter[str] = Counter()
        # By (job, share): seconds that it had; by share: where the job was that was served last.
        self._had: dict[tuple[str, str], float] = {}
        self._served: dict[str, float] = {}
        self._pace: dict[str, float] = {}
        # Jobs that had as much take turns.
        self._last: dict[str, int] = {}
        self._turn = itertools.count(1)

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, work_id: str) -> bool:
        return work_id in self._place

    def push(self, work_id: str, job_id: str, priority: int, requirement: Requirement, sequence: int) -> None:
        """Add a piece of work. `sequence` orders it in its job: work that comes back keeps its place."""
        if work_id in self._place:
            return
        if not self._waiting[job_id]:
            self._rejoin(job_id)
        bucket = (job_id, priority, requirement)
        insort(self._buckets.setdefault(bucket, []), (sequence, work_id))
        self._place[work_id] = (bucket, sequence)
        self._waiting[job_id] += 1

    def discard(self, work_id: str) -> None:
        """Take a piece of work out, if it is in."""
        if work_id not in self._place:
            return
        bucket, sequence = self._place.pop(work_id)
        waiting = self._buckets[bucket]
        del waiting[bisect_left(waiting, (sequence, work_id))]
        if not waiting:
            del self._buckets[bucket]
        self._waiting[bucket[0]] -= 1

    def take(self, share: str, fits: Callable[[Requirement], bool], allows: Callable[[str], bool]) -> str | None:
        """Take out the next piece of work for a device of class `share`: one whose requirement fits and that is
        allowed itself. None if none is."""
        best: tuple[int, float, int, int] | None = None
        choice: tuple[str, str] | None = None
        for (job_id, priority, requirement), waiting in self._buckets.items():
            turn = (-priority, self._virtual_time(job_id, share), self._last.get(job_id, 0))
            if (best is not None and turn > best[:3]) or not fits(requirement):
                continue
            head = next((entry for entry in waiting if allows(entry[1])), None)
            if head is not None and (best is None or (*turn, head[0]) < best):
                best, choice = (*turn, head[0]), (head[1], job_id)
        if best is None or choice is None:
            return None
        self._served[share] = max(self._served.get(share, 0.0), best[1])
        self._last[choice[1]] = next(self._turn)
        self.discard(choice[0])
        return choice[0]

    def charge(self, job_id: str, share: str, items: int) -> float:
        """A lease of `items` was given: the job is charged what it will most likely take; returns that (seconds)."""
        seconds = items * self._pace.get(job_id, _FIRST_GUESS)
        self._had[job_id, share] = self._virtual_time(job_id, share) + seconds
        return seconds

    def settle(self, job_id: str, share: str, charged: float, seconds: float, items: int) -> None:
        """The lease ended: it took `seconds` for `items` of its items."""
        if (job_id, share) in self._had:
            self._had[job_id, share] += seconds - charged
        if items:
            known = self._pace.get(job_id, seconds / items)
            self._pace[job_id] = known + _NEWEST * (seconds / items - known)

    def forget_job(self, job_id: str) -> None:
        """The job is over: its place in the round is free."""
        self._pace.pop(job_id, None)
        self._last.pop(job_id, None)
        for key in [key for key in self._had if key[0] == job_id]:
            del self._had[key]
        if not self._waiting[job_id]:
            del self._waiting[job_id]

    def _virtual_time(self, job_id: str, share: str) -> float:
        return self._had.get((job_id, share), self._served.get(share, 0.0))

    def _rejoin(self, job_id: str) -> None:
        for key, had in self._had.items():
            if key[0] == job_id:
                self._had[key] = max(had, self._served.get(key[1], 0.0))
