"""A fixed number of interchangeable worker processes."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunefarm_coordinator.compute.messages import ComputeFailed
from tunefarm_coordinator.compute.worker_errors import WorkerGone

if TYPE_CHECKING:  # it brings Ray with it, which nothing else here needs
    from tunefarm_coordinator.compute.workers import Worker

# Fresh workers that don't come up before a request is given up. All of those that were there may have gone together,
# with their host or by the kernel's hand, and that is no reason to give anything up.
START_ATTEMPTS = 3


class Pool:
    """A fixed number of interchangeable workers, replaced when they die. Requests are served in order.

    Nothing is started before the first request or `warm_up`.
    """

    def __init__(self, spawn: Callable[[], "Worker"], size: int) -> None:
        self._spawn = spawn
        self._size = size
        self._workers: list[Worker] = []
        self._free: asyncio.Queue[Worker] = asyncio.Queue()

    @property
    def workers(self) -> "list[Worker]":
        """Those that run, or start."""
        return list(self._workers)

    def warm_up(self) -> None:
        """Starts what is missing."""
        while len(self._workers) < self._size:
            worker = self._spawn()
            self._workers.append(worker)
            self._free.put_nowait(worker)

    async def call(self, method: str, *arguments: object, limit: float | None = None) -> Any:
        """As `Worker.call`, on the next free worker; waiting for one counts towards no limit.

        A worker that was gone before it began is replaced. Raises as `Worker.call`, but for WorkerGone.
        """
        for _ in range(self._size + START_ATTEMPTS):
            self.warm_up()
            worker = await self._free.get()
            try:
                return await worker.call(method, *arguments, limit=limit)
            except WorkerGone as error:
                reason = str(error)
            finally:
                self._put_back(worker)
        raise ComputeFailed(f"worker processes don't come up: {reason}")

    def dismiss(self) -> None:
        """Ends all workers that are free."""
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                worker = self._free.get_nowait()
                self._workers.remove(worker)
                worker.kill()

    def _put_back(self, worker: "Worker") -> None:
        if worker.dead:
            self._workers.remove(worker)
            self.warm_up()
        else:
            self._free.put_nowait(worker)
