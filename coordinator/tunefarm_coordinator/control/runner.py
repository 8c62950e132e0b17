"""Runs one job: what happens goes to the journal, then to the brain, and what the brain wants is carried out."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from tunefarm_coordinator.compute.messages import ComputeFailed
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.library import as_sent
from tunefarm_coordinator.errors import InvalidInput, NoDevice, StoreError, TunefarmError
from tunefarm_coordinator.fault_points import FaultPoint, FaultPoints
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.brain import JobBrain
from tunefarm_coordinator.jobs.events import CancelRequested, Event, Resumed, StageFailed, TimeSpent, decode, encode
from tunefarm_coordinator.jobs.state import JobState
from tunefarm_coordinator.schedules.changes import AppendEvents, Change, JournalEntry, ReopenJob
from tunefarm_coordinator.schedules.store import Store

log = logging.getLogger(__name__)

# A store that can't be written (disk full) is tried again this often; nothing moves meanwhile.
STORE_RETRY_SECONDS = 2.0
# Window over which trials per second are averaged.
RATE_SECONDS = 30.0

CarryOut = Callable[[ins.Instruction], Coroutine[Any, Any, None]]


@dataclass
class _Entry:
    event: Event
    changes: tuple[Change, ...]
    done: asyncio.Future[None]
    at: float


class JobRunner:
    """One job from its journal to its end; one that goes on after an end gets a new runner.

    Attributes:
        ended: when the job ended, in seconds since the epoch; None while it has not.
        waits_since: when an interrupted job's last event was; None for a job that runs or has ended.
        idle: seconds that the job lay between an end, or an interruption, and its resumption.
        packaged: the job has succeeded at least once, so that it has a package.
        over: set once the job has ended and all that it held was let go.

    `record` is the only way to tell the job that something happened; it returns once that is durable and the brain
    knows. `carry_out` does what the brain wants, one call for each instruction.
    """

    def __init__(
        self,
        sheet: JobSheet,
        store: Store,
        on_state: Callable[["JobRunner"], Coroutine[Any, Any, None]],
        faults: FaultPoints | None = None,
    ) -> None:
        self.sheet = sheet
        self.brain = JobBrain(sheet.options)
        self.sequence = 0
        self.ended: float | None = None
        self.waits_since: float | None = None
        self.idle = 0.0
        self.packaged = False
        self.over = asyncio.Event()
        self.store_trouble = ""
        self._written = 0
        self.resumed: frozenset[ins.Instruction] = frozenset()
        self._store = store
        self._on_state = on_state
        self._faults = faults or FaultPoints()
        self._carry_out: CarryOut | None = None
        self._inbox: asyncio.Queue[_Entry] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._charges: deque[tuple[float, int]] = deque()
        self._reopened = False
        self._last_event = sheet.created
        self._clock_from = sheet.created
        self._max_seconds = sheet.spec.max_seconds if sheet.spec.HasField("max_seconds") else None

    # ---- life

    def replay(self, journal: Iterable[JournalEntry]) -> None:
        """Rebuilds the brain; nothing is carried out."""
        for entry in journal:
            self._tell(decode(entry.payload), entry.at)
            self.sequence = entry.seq

    async def reopen(self, event: Resumed) -> None:
        """After `replay`, before `start`: a job that has ended, or was interrupted, goes on. Durable on return.

        The brain is asked first (`check_resume`) whether it may. Raises StoreError; nothing has changed then.
        """
        entry = JournalEntry(self.sequence + 1, time.time(), event.kind, encode(event))
        state = JobState.TUNING if self.brain.tasks else JobState.PREPARING
        job_id = self.sheet.job_id
        self._faults.passing(FaultPoint.BEFORE_DURABLE_WRITE)
        await asyncio.wrap_future(self._store.write(AppendEvents(job_id, (entry,)), ReopenJob(job_id, state.value)))
        self._faults.passing(FaultPoint.AFTER_DURABLE_WRITE)
        self.waits_since = None
        self._tell(event, entry.at)
        self.sequence = entry.seq
        self._reopened = True

    def leave(self) -> None:
        """After `replay`: the job is interrupted, and waits for its user."""
        self.waits_since = self._last_event

    def start(self, carry_out: CarryOut, *, idle: bool = False) -> None:
        """Begins, or goes on after `replay` or `reopen`, with everything that is not yet answered; with `idle`, only
        takes what is recorded."""
        self._carry_out = carry_out
        self._loop = asyncio.create_task(self._run(), name=f"job {self.sheet.job_id}")
        if self.brain.state.terminal:
            self._spawn(self._on_state(self))
            return
        if idle:
            return
        left = self.time_left(time.time())
        if left is not None:
            self._spawn(self._spend_time(left))
        outstanding = self.brain.outstanding()
        if self.sequence and not self._reopened:
            self.resumed = frozenset(outstanding)
        self._do(outstanding)

    def _tell(self, event: Event, at: float) -> list[ins.Instruction]:
        """Tells the brain, and keeps what it knows nothing of: the time (seconds since the epoch)."""
        before = self.brain.state
        wanted = self.brain.handle(event)
        after = self.brain.state
        if isinstance(event, Resumed):
            self._go_on(event, at)
        elif after.terminal and not before.terminal:
            self.ended = at
        self.packaged = self.packaged or after is JobState.SUCCEEDED
        self._last_event = at
        return wanted

    def _go_on(self, event: Resumed, at: float) -> None:
        self.idle += max(0.0, at - (self._last_event if self.ended is None else self.ended))
        self.ended = None
        self._clock_from = at
        if event.max_seconds is not None:
            self._max_seconds = event.max_seconds
        else:
            self._max_seconds = self.sheet.spec.max_seconds if self.sheet.spec.HasField("max_seconds") else None

    async def stop(self) -> None:
        """Lets go without ending the job: a later coordinator goes on with it."""
        tasks = [*self._tasks, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def cancel(self, reason: str) -> None:
        """Ends the job. Does nothing if it has ended."""
        if not self.brain.state.terminal:
            await self.record(CancelRequested(reason))

    # ---- what happens

    async def record(self, event: Event, *changes: Change) -> None:
        """Makes `event`, together with `changes`, durable, then lets the brain decide."""
        entry = _Entry(event, changes, asyncio.get_running_loop().create_future(), time.time())
        self._inbox.put_nowait(entry)
        await asyncio.shield(entry.done)

    async def wait_change(self, after: int) -> None:
        """Returns once the job has moved past sequence `after`, or has ended."""
        if self.sequence <= after:
            await self._changed.wait()

    async def _run(self) -> None:
        while True:
            entries = [await self._inbox.get()]
            while not self._inbox.empty():
                entries.append(self._inbox.get_nowait())
            if not await self._enter(entries) and len(entries) > 1:
                # One that can't be written must not take its neighbours with it.
                for entry in entries:
                    await self._enter([entry])
            self.announce()

    async def _enter(self, entries: list[_Entry]) -> bool:
        """Writes the events down and lets the brain decide; False: they were refused, and nothing of them was written.
        Whoever brought one that is refused by itself hears of it."""
        try:
            await self._make_durable(entries)
        except TunefarmError as error:
            if len(entries) == 1:
                log.exception("a job's event was refused", extra={"job_id": self.sheet.job_id})
                if not entries[0].done.cancelled():
                    entries[0].done.set_exception(error)
            return False
        for entry in entries:
            self._take(entry)
        return True

    def announce(self) -> None:
        """Wakes everyone who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _make_durable(self, entries: list[_Entry]) -> None:
        # A job that has ended takes no more events, but what was measured is still kept.
        rows = []
        if not self.brain.state.terminal:
            rows = [
                JournalEntry(self.sequence + number, entry.at, entry.event.kind, encode(entry.event))
                for number, entry in enumerate(entries, start=1)
            ]
        changes: list[Change] = [change for entry in entries for change in entry.changes]
        if rows:
            changes.insert(0, AppendEvents(self.sheet.job_id, tuple(rows)))
        while changes:
            try:
                self._faults.passing(FaultPoint.BEFORE_DURABLE_WRITE)
                await asyncio.wrap_future(self._store.write(*changes))
                self._faults.passing(FaultPoint.AFTER_DURABLE_WRITE)
            except StoreError as error:
                self.store_trouble = str(error)
                log.error(
                    "job waits: the store can't be written", extra={"job_id": self.sheet.job_id, "error": str(error)}
                )
                await asyncio.sleep(STORE_RETRY_SECONDS)
                self._store.resume()
            else:
                self.store_trouble = ""
                break
        self._written = len(rows)

    def _take(self, entry: _Entry) -> None:
        before = self.brain.state
        if not before.terminal:
            self._do(self._tell(entry.event, entry.at))
            self._note_rate()
        if self.brain.state is not before:
            self._spawn(self._on_state(self))
        if self._written:
            self._written -= 1
            self.sequence += 1
        if not entry.done.cancelled():
            entry.done.set_result(None)

    # ---- what is to be done

    def _do(self, wanted: list[ins.Instruction]) -> None:
        for instruction in wanted:
            if isinstance(instruction, ins.WithdrawAll):
                self._withdraw_all()
            else:
                self._spawn(self._guard(instruction))

    def _withdraw_all(self) -> None:
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    async def _guard(self, instruction: ins.Instruction) -> None:
        """Carries out one instruction; an error that ends the job becomes an event like any other."""
        assert self._carry_out is not None
        try:
            await self._carry_out(instruction)
        except InvalidInput as error:
            await self._fail("INVALID_INPUT", error)
        except NoDevice as error:
            await self._fail("NO_DEVICE", error)
        except (TunefarmError, ComputeFailed) as error:
            log.exception("stage failed", extra={"job_id": self.sheet.job_id})
            await self._fail("INTERNAL", error)

    async def _fail(self, kind: str, error: Exception) -> None:
        await self.record(StageFailed(kind, as_sent(str(error), self.sheet.model)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("bug: a job's work raised", exc_info=error, extra={"job_id": self.sheet.job_id})
            if not self.brain.state.terminal:
                self._spawn(self.record(StageFailed("INTERNAL", f"{type(error).__name__}: {error}")))

    def time_left(self, now: float) -> float | None:
        """Seconds in which new trials may start, from the start of the job or its last resumption; None: no limit."""
        return None if self._max_seconds is None else max(0.0, self._clock_from + self._max_seconds - now)

    async def _spend_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.record(TimeSpent())

    # ---- rates

    def _note_rate(self) -> None:
        now = time.monotonic()
        self._charges.append((now, self.brain.ledger.charged))
        while len(self._charges) > 2 and self._charges[0][0] < now - RATE_SECONDS:
            self._charges.popleft()

    @property
    def trials_per_second(self) -> float:
        """Charged trials per second over the last half minute."""
        if len(self._charges) < 2 or self.brain.state.value != "TUNING":
            return 0.0
        (start, first), (end, last) = self._charges[0], self._charges[-1]
        return (last - first) / (end - start) if end > start else 0.0
