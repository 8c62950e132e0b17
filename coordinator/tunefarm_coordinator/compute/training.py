"""The learned cost model's process: what it still has to learn, and what it has learned."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunefarm_coordinator.compute.messages import ComputeFailed, OpenTask
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerGone
from tunefarm_coordinator.engines.cost_model import Sample

if TYPE_CHECKING:  # it brings Ray with it, which nothing else here needs
    from tunefarm_coordinator.compute.workers import Worker

log = logging.getLogger(__name__)


class Training:
    """The one process that trains cost models, and what it still has to learn."""

    def __init__(
        self,
        trainer: Callable[[], "Worker"],
        on_model: Callable[[str, bytes], None],
        on_loss: Callable[[], None],
        time_limit: float,
    ) -> None:
        """`on_model(job, model)`: a model was trained. `on_loss()`: all samples are lost. `time_limit`: seconds
        after which the trainer is taken for hung: it holds a permit, and nothing is timed meanwhile."""
        self._new_trainer = trainer
        self._on_model = on_model
        self._on_loss = on_loss
        self._time_limit = time_limit
        self._trainer: Worker | None = None
        self._seeds: dict[str, int] = {}
        self._waiting: dict[str, list[Sample]] = {}
        self._models: dict[str, tuple[int, bytes]] = {}
        self._learning: asyncio.Task[None] | None = None

    @property
    def workers(self) -> "list[Worker]":
        """The trainer, if it runs."""
        return [] if self._trainer is None or self._trainer.dead else [self._trainer]

    def warm_up(self) -> None:
        """Starts the trainer if there is none."""
        if not self.workers:
            self._trainer = self._new_trainer()

    def begin(self, request: OpenTask, samples: Sequence[Sample]) -> None:
        """A task was opened: `samples` of its history. Some may have been lost with a searcher that died, so all are
        sent; the trainer leaves out what it knows."""
        job_id = request.key.job_id
        self._seeds.setdefault(job_id, request.seed)
        self.add(job_id, samples)
        if job_id in self._models:
            # A searcher that took another one's place has no model yet.
            self._on_model(job_id, self._models[job_id][1])

    def add(self, job_id: str, samples: Sequence[Sample]) -> None:
        """Has the cost model learn `samples` soon."""
        if not samples or job_id not in self._seeds:
            return
        self._waiting.setdefault(job_id, []).extend(samples)
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn())

    def close(self, job_id: str) -> None:
        """Forgets a job."""
        for table in (self._seeds, self._waiting, self._models):
            table.pop(job_id, None)
        for trainer in self.workers:
            trainer.tell("close", job_id)

    def dismiss(self) -> None:
        """Ends the process."""
        for trainer in self.workers:
            trainer.kill()
        self._trainer = None

    async def _learn(self) -> None:
        while self._waiting:
            job_id, samples = self._waiting.popitem()
            self.warm_up()
            assert self._trainer is not None
            try:
                fitted = await self._trainer.call("learn", job_id, self._seeds[job_id], samples, limit=self._time_limit)
            except (WorkerDied, WorkerGone) as error:
                log.warning("the trainer ended; all tasks will be opened again", extra={"error": str(error)})
                self._lose()
                return
            except ComputeFailed as error:
                # Search goes on with the model that it has.
                log.error("the cost model could not be trained", extra={"error": str(error)})
                continue
            known, _ = self._models.get(job_id, (0, b""))
            if job_id in self._seeds and fitted.model is not None and fitted.version != known:
                self._models[job_id] = (fitted.version, fitted.model)
                self._on_model(job_id, fitted.model)

    def _lose(self) -> None:
        self._waiting.clear()
        self._models.clear()
        self._on_loss()
