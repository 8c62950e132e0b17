"""Model workers: started when there is work, ended when there has been none for a while."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunefarm_coordinator.compute.messages import ComputeFailed
from tunefarm_coordinator.compute.pool import START_ATTEMPTS
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerGone

if TYPE_CHECKING:  # it brings Ray with it, which nothing else here needs
    from tunefarm_coordinator.compute.workers import Worker


class ModelPool:
    """At most `size` model workers. A request that is cancelled is given up, and its worker with it."""

    def __init__(self, spawn: Callable[[], "Worker"], size: int, time_limit: float, idle_seconds: float) -> None:
        """`time_limit`: seconds for one request. `idle_seconds`: after which a worker is ended."""
        self._spawn = spawn
        self._time_limit = time_limit
        self._idle_seconds = idle_seconds
        self._places = asyncio.Semaphore(size)
        self._idle: list[Worker] = []
        self._busy: list[Worker] = []
        self._timers: dict[int, asyncio.TimerHandle] = {}

    @property
    def workers(self) -> "list[Worker]":
        """Those that run, or start."""
        return [*self._idle, *self._busy]

    async def call(self, method: str, request: object, limit: float | None = None) -> Any:
        """Has a model worker do `method`; one that was gone before it began is replaced. `limit`: seconds, if fewer
        than for other requests.

        Raises as `Worker.call`, ComputeFailed where the process died, or none comes up.
        """
        async with self._places:
            for _ in range(len(self._idle) + START_ATTEMPTS):
                worker = self._take()
                try:
                    return await worker.call(method, request, limit=min(limit or self._time_limit, self._time_limit))
                except WorkerDied as error:
                    raise ComputeFailed(f"{method} ended its process: {error}") from error
                except WorkerGone as error:
                    reason = str(error)
                except asyncio.CancelledError:
                    worker.kill()
                    raise
                finally:
                    self._give_back(worker)
            raise ComputeFailed(f"the process for {method} does not come up: {reason}")

    async def warm_up(self) -> None:
        """Starts a worker at once if there is none; returns once it is warm, or does not come up: the next request's
        trouble."""
        if self.workers:
            return
        worker = self._take()
        self._give_back(worker)
        with contextlib.suppress(WorkerGone):
            await worker.ready()

    def _take(self) -> "Worker":
        worker = self._idle.pop() if self._idle else self._spawn()
        timer = self._timers.pop(id(worker), None)
        if timer is not None:
            timer.cancel()
        self._busy.append(worker)
        return worker

    def _give_back(self, worker: "Worker") -> None:
        self._busy.remove(worker)
        if worker.dead:
            return
        self._idle.append(worker)
        loop = asyncio.get_running_loop()
        self._timers[id(worker)] = loop.call_later(self._idle_seconds, self._end, worker)

    def _end(self, worker: "Worker") -> None:
        self._timers.pop(id(worker), None)
        self._idle.remove(worker)
        worker.kill()
