"""Which searcher holds which task, and the way of every result: to its searcher, to the cost model, back.

Search never waits for the cost model: results are learned in batches, by another process, and each new model
goes to all searchers. A task whose searcher died is unknown from then on, and is opened again with its history.
The tasks of every job are unknown when the trainer died: its samples come back the same way.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunefarm_coordinator.compute.messages import (
    ComputeFailed,
    Observe,
    OpenTask,
    Propose,
    Proposed,
    TaskKey,
    UnknownTask,
)
from tunefarm_coordinator.compute.training import Training
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerGone

if TYPE_CHECKING:  # it brings Ray with it, which nothing else here needs
    from tunefarm_coordinator.compute.workers import Worker

log = logging.getLogger(__name__)

# Searchers that one task may take down before it is given up.
MOST_DEATHS = 3


class SearchDesk:
    """Searchers and the trainer. Nothing is started before the first task or `warm_up`."""

    def __init__(
        self,
        searcher: Callable[[], "Worker"],
        trainer: Callable[[], "Worker"],
        size: int,
        time_limit: float,
        share: Callable[[bytes], Any],
    ) -> None:
        """`searcher`, `trainer`: start one. `time_limit`: seconds after which a searcher is taken for hung.
        `share`: puts a model where every process gets it from."""
        self._new_searcher = searcher
        self._share = share
        self._size = size
        self._time_limit = time_limit
        self._searchers: list[Worker] = []
        self._holders: dict[TaskKey, Worker] = {}
        self._deaths: Counter[TaskKey] = Counter()
        self._training = Training(trainer, self._spread, self._forget_all, time_limit)

    @property
    def workers(self) -> "list[Worker]":
        """Those that run, or start."""
        return [*self._searchers, *self._training.workers]

    @property
    def idle(self) -> bool:
        """Whether no task is held."""
        return not self._holders

    def warm_up(self) -> None:
        """Starts what is missing."""
        self._searchers = [worker for worker in self._searchers if not worker.dead]
        while len(self._searchers) < self._size:
            self._searchers.append(self._new_searcher())
        self._training.warm_up()

    async def open(self, request: OpenTask) -> None:
        """Gives the task to the searcher that holds it, or to the one that holds fewest."""
        for _ in range(self._size + MOST_DEATHS):
            self.warm_up()
            # Entered at once, so that tasks which are opened at the same time are spread.
            self._holders.setdefault(request.key, self._least_loaded())
            try:
                samples = await self._ask(request.key, "open", request)
            except UnknownTask as error:
                reason = str(error)
                continue
            self._training.begin(request, samples)
            return
        raise ComputeFailed(f"searchers don't come up: {reason}")

    async def propose(self, request: Propose) -> Proposed:
        """One round of search. Raises UnknownTask."""
        answer: Proposed = await self._ask(request.key, "propose", request)
        return answer

    async def observe(self, request: Observe) -> None:
        """Passes results on. Raises UnknownTask."""
        samples = await self._ask(request.key, "observe", request.key, request.observations)
        self._training.add(request.key.job_id, samples)

    def close(self, job_id: str) -> None:
        """Forgets a job."""
        for key in [key for key in self._holders if key.job_id == job_id]:
            del self._holders[key]
            self._deaths.pop(key, None)
        for searcher in self._searchers:
            searcher.tell("close", job_id)
        self._training.close(job_id)

    def dismiss(self) -> None:
        """Ends all processes. Only while idle."""
        for searcher in self._searchers:
            searcher.kill()
        self._searchers = []
        self._training.dismiss()

    async def _ask(self, key: TaskKey, method: str, *arguments: object) -> Any:
        searcher = self._holder(key)
        try:
            return await searcher.call(method, *arguments, limit=self._time_limit)
        except WorkerGone as error:
            self._forget(searcher)
            raise UnknownTask(f"the searcher of task {key.workload} was gone: {error}") from error
        except WorkerDied as error:
            self._forget(searcher)
            self._deaths[key] += 1
            if self._deaths[key] >= MOST_DEATHS:
                raise ComputeFailed(
                    f"searching task {key.workload} ended its process {self._deaths[key]} times: {error}"
                ) from error
            raise UnknownTask(f"the searcher of task {key.workload} died: {error}") from error

    def _holder(self, key: TaskKey) -> "Worker":
        searcher = self._holders.get(key)
        if searcher is not None and searcher.dead:
            self._forget(searcher)
            searcher = None
        if searcher is None:
            raise UnknownTask(f"no searcher holds task {key.workload} of job {key.job_id}")
        return searcher

    def _least_loaded(self) -> "Worker":
        loads = Counter(id(searcher) for searcher in self._holders.values())
        return min(self._searchers, key=lambda searcher: loads[id(searcher)])

    def _forget(self, searcher: "Worker") -> None:
        log.warning("a searcher ended; its tasks will be opened again", extra={"pid": searcher.pid})
        self._holders = {key: holder for key, holder in self._holders.items() if holder is not searcher}
        self.warm_up()

    def _forget_all(self) -> None:
        self._holders.clear()

    def _spread(self, job_id: str, model: bytes) -> None:
        shared = self._share(model)
        for searcher in self._searchers:
            searcher.tell("set_model", job_id, shared)
