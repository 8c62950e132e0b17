"""One worker process as the driver sees it: calls with permits and time limits, and what became of it."""

import asyncio
import time
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from tunefarm_coordinator.compute.cluster import first_line
from tunefarm_coordinator.compute.messages import ComputeFailed, UnknownTask
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerGone, WorkerHung
from tunefarm_coordinator.errors import TunefarmError

# For the imports of a worker's start, once it may compute.
START_SECONDS = 300.0


class Worker:
    """A worker process, from its start to its first failure. Calls are served one at a time, in order."""

    def __init__(self, actor: ActorHandle, still_timeout: float) -> None:
        """`still_timeout`: seconds after which an actor that has nothing to compute, and does not answer, is killed."""
        self._actor = actor
        self._still_timeout = still_timeout
        self.dead = False
        self.pid: int | None = None
        self._turn = asyncio.Lock()
        self._start = asyncio.ensure_future(self._warm())
        self._start.add_done_callback(_take_note)

    async def ready(self) -> None:
        """Returns when the process is up and warm. Raises WorkerGone."""
        if self.dead:
            raise WorkerGone("its process was ended")
        try:
            await asyncio.shield(self._start)
        except (WorkerGone, WorkerDied, ComputeFailed) as error:
            self.kill()
            raise WorkerGone(str(error)) from error

    async def call(self, method: str, *arguments: object, limit: float | None = None) -> Any:
        """Calls `method` under a permit. `limit`: seconds of computing after which the process is killed.

        Raises what the method raises of ours, ComputeFailed for anything else that it raises, WorkerGone,
        WorkerDied, WorkerHung. A call that is cancelled still runs to its end, and the next waits for it.
        """
        await self.ready()
        # Goes on with its limit when the caller is cancelled, so that a hung process is found out.
        computing = asyncio.ensure_future(self._compute(method, *arguments, limit=limit))
        computing.add_done_callback(_take_note)
        return await asyncio.shield(computing)

    def tell(self, method: str, *arguments: object) -> None:
        """Calls `method` without a permit, and does not wait for it."""
        if not self.dead:
            getattr(self._actor, method).remote(*arguments)

    def kill(self) -> None:
        """Ends the process at once."""
        self.dead = True
        self._start.cancel()
        ray.kill(self._actor, no_restart=True)

    async def _warm(self) -> None:
        # No limit until the actor has answered once: on a cluster it may wait for room.
        await self._answer(self._actor.up.remote(), time.monotonic())
        self.pid = await self._compute("warm", limit=START_SECONDS)

    async def _compute(self, method: str, *arguments: object, limit: float | None) -> Any:
        # One call at a time: the next one's permit is not asked for with this one's in hand, and an actor that is
        # asked for a permit has nothing else to do.
        async with self._turn:
            await self._permit()
            started = time.monotonic()
            answer = getattr(self._actor, method).remote(*arguments)
            self._actor.release.remote()
            try:
                return await asyncio.wait_for(self._answer(answer, started), limit)
            except TimeoutError:
                self.kill()
                raise WorkerHung(f"no answer within {limit:g} s", time.monotonic() - started) from None

    async def _permit(self) -> None:
        """Waits until the actor may compute, however long the gate is closed. Raises WorkerGone."""
        granted, turn = False, self._still_timeout / 3
        while not granted:
            try:
                asked = self._answer(self._actor.acquire.remote(turn), time.monotonic())
                granted = await asyncio.wait_for(asked, self._still_timeout)
            except WorkerDied as error:
                raise WorkerGone(str(error)) from error
            except TimeoutError:
                self.kill()
                raise WorkerGone(f"it stood still for {self._still_timeout:g} s") from None

    async def _answer(self, reference: Any, started: float) -> Any:
        try:
            return await reference
        except RayTaskError as error:
            raise _own(error) from None
        except RayError as error:
            self.dead = True
            raise WorkerDied(first_line(error), time.monotonic() - started) from None


def _take_note(ended: "asyncio.Future[Any]") -> None:
    """Whoever waits for it learns of a failure; where nobody waits any more, it is no event."""
    if not ended.cancelled():
        ended.exception()


def _own(error: RayTaskError) -> Exception:
    cause = error.cause
    if isinstance(cause, (TunefarmError, UnknownTask, ComputeFailed)):
        return cause
    return ComputeFailed(f"{type(cause).__name__}: {first_line(cause)}")
