"""Worker processes that are none: they answer as they are told to, and remember what they were asked."""

import asyncio
from collections.abc import Callable
from typing import Any

from tunefarm_coordinator.compute.worker_errors import WorkerGone

Behaviour = Callable[..., Any]


class FakeWorker:
    """Stands for `workers.Worker`. `behaviour(method, *arguments)` answers or raises; an awaitable is awaited."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.dead = False
        self.lame = False
        self.pid = 1
        self.limit: float | None = None
        self.asked: list[tuple[str, Any]] = []
        self.warmed = 0
        self.told: list[tuple[Any, ...]] = []
        self._behaviour = behaviour
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        await asyncio.sleep(0)
        if self.lame:
            self.dead = True
            raise WorkerGone("it does not come up")
        self.warmed += 1

    async def call(self, method: str, *arguments: Any, limit: float | None = None) -> Any:
        if self.lame:
            await self.ready()
        async with self._turn:
            self.asked.append((method, arguments))
            self.limit = limit
            answer = self._behaviour(method, *arguments)
            return await answer if asyncio.iscoroutine(answer) or asyncio.isfuture(answer) else answer

    def tell(self, method: str, *arguments: Any) -> None:
        self.told.append((method, *arguments))

    def kill(self) -> None:
        self.dead = True


class Starter:
    """Starts fake workers that all behave the same; keeps every one that it has started. `lame`: so many of the next
    ones don't come up."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.started: list[FakeWorker] = []
        self.lame = 0

    def __call__(self) -> Any:
        worker = FakeWorker(lambda *call: self.behaviour(worker, *call))
        worker.lame, self.lame = self.lame > 0, max(0, self.lame - 1)
        self.started.append(worker)
        return worker


async def settle() -> None:
    """Lets every asyncio task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)
