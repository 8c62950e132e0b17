"""The coordinator's way to the compute child: a supervised process that drives Ray. No Ray, no TVM in here."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from tunefarm_coordinator.compute.child import Child
from tunefarm_coordinator.compute.messages import ComputeLost, Gate, Request, SetGates
from tunefarm_coordinator.compute.settings import ComputeSettings
from tunefarm_coordinator.errors import Unavailable

__all__ = ["ComputeClient", "ComputeSettings", "ComputeState"]

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
# A child that lived this long was well; the next failure starts from the first backoff again.
WELL_SECONDS = 60.0
# Starts in a row that did not become ready, after which requests are refused instead of kept waiting.
FAILED_STARTS = 3


class ComputeState(Enum):
    """Where the compute child stands."""

    STARTING = "starting"
    READY = "ready"
    LOST = "lost"
    CLOSED = "closed"


class ComputeClient:
    """Starts the compute child, again whenever it ends, and asks it. For one event loop.

    Attributes:
        generation: number of children started so far.
        state: of the present child.
        reason: why the last child ended, or where the present one runs.
    """

    def __init__(
        self,
        settings: ComputeSettings,
        on_state: Callable[[ComputeState, str], None] | None = None,
    ) -> None:
        """`on_state(state, reason)` is told of every change; it must not block."""
        self.generation = 0
        self.state = ComputeState.CLOSED
        self.reason = "not started"
        self._settings = settings
        self._on_state = on_state
        self._gates: tuple[Gate, ...] = ()
        self._child: Child | None = None
        self._changed = asyncio.Condition()
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._failed_starts = 0
        self._side_tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Starts the child; returns at once. Requests are taken from now on, and wait for it."""
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name="compute child")

    async def ask(self, request: Request) -> Any:
        """The answer to a request (see `messages`); cancelling this gives the request up.

        Raises:
            ComputeLost: the child died under the request, or the client was closed.
            Unavailable: the child does not come up, after several tries.
            InvalidInput, UnknownTask, ComputeFailed: as the request says.
        """
        child = await self._running_child()
        return await child.ask(request)

    def set_gates(self, gates: Sequence[Gate]) -> None:
        """Tells all workers, and those of later children, which gates exist now."""
        self._gates = tuple(gates)
        if self._child is not None:
            task = asyncio.create_task(self._tell_gates())
            self._side_tasks.add(task)
            task.add_done_callback(self._side_tasks.discard)

    async def close(self) -> None:
        """Ends the child and everything that it started. Requests in flight raise ComputeLost."""
        self._stopping.set()
        if self._child is not None:
            self._child.stop()
        if self._supervisor is not None:
            await self._supervisor
        await self._become(ComputeState.CLOSED, "closed")
        if self._side_tasks:
            await asyncio.wait(self._side_tasks)

    async def _tell_gates(self) -> None:
        # The next child gets them with its setup.
        with contextlib.suppress(ComputeLost, Unavailable):
            await self.ask(SetGates(self._gates))

    async def _running_child(self) -> Child:
        async with self._changed:
            while self._child is None or self._child.ending:
                if self._stopping.is_set() or self._supervisor is None:
                    raise ComputeLost("the compute client is closed, or was never started")
                if self._failed_starts >= FAILED_STARTS:
                    raise Unavailable(f"search and build don't come up: {self.reason}")
                await self._changed.wait()
            return self._child

    async def _supervise(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            reason = await self._live()
            if self._stopping.is_set():
                return
            log.warning("the compute child ended and is started again", extra={"reason": reason})
            if time.monotonic() - started > WELL_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def _live(self) -> str:
        """One child from start to end; returns why it ended."""
        self.generation += 1
        gates = self._gates
        try:
            child = await Child.start(self._settings, gates)
        except OSError as error:
            self._failed_starts += 1
            await self._become(ComputeState.LOST, f"no process could be started: {error}")
            return self.reason
        if self._stopping.is_set():
            child.stop()
        self._child = child
        if self._gates != gates:  # set while the child was being started
            self.set_gates(self._gates)
        await self._become(ComputeState.STARTING, "")
        try:
            reason = await child.serve(self._is_ready)
        finally:
            self._child = None
        self._failed_starts = 0 if child.ready else self._failed_starts + 1
        if not self._stopping.is_set():
            await self._become(ComputeState.LOST, reason)
        return reason

    def _is_ready(self, detail: str) -> None:
        self._failed_starts = 0
        self._set(ComputeState.READY, detail)

    async def _become(self, state: ComputeState, reason: str) -> None:
        self._set(state, reason)
        async with self._changed:
            self._changed.notify_all()

    def _set(self, state: ComputeState, reason: str) -> None:
        self.state, self.reason = state, reason
        if self._on_state is not None:
            self._on_state(state, reason)
