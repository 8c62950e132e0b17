import asyncio
from typing import Any

import pytest

from tests.unit.compute.fake_workers import FakeWorker, Starter, settle
from tunefarm_coordinator.compute.messages import (
    ComputeFailed,
    Observation,
    Observe,
    OpenTask,
    Propose,
    Proposed,
    TaskKey,
    UnknownTask,
)
from tunefarm_coordinator.compute.search_desk import MOST_DEATHS, SearchDesk
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerGone
from tunefarm_coordinator.engines.cost_model import CostModel
from tunefarm_coordinator.models.task import TuningTask

TASK = TuningTask("w", "w", 1, "{}", 0.0)


def opening(job: str, workload: str) -> OpenTask:
    return OpenTask(TaskKey(job, workload), TASK, "{}", "autoscheduler", 1, ())


def observing(job: str, workload: str, *identities: str) -> Observe:
    return Observe(TaskKey(job, workload), tuple(Observation(each, "[]", 1.0) for each in identities))


class Scene:
    """A desk over fake searchers and a fake trainer, and what those do."""

    def __init__(self, searchers: int = 2) -> None:
        self.fatal_task = ""
        self.trainer_dies = False
        self.learning: asyncio.Future[None] | None = None
        self.learned: list[list[str]] = []
        self.searchers = Starter(self._search)
        self.trainers = Starter(self._learn)
        self.desk = SearchDesk(self.searchers, self.trainers, searchers, 60, share=lambda model: model)

    def _search(self, worker: FakeWorker, method: str, *arguments: Any) -> Any:
        request = arguments[0]
        workload = request.workload if isinstance(request, TaskKey) else request.key.workload
        if worker.pid == 0:
            worker.dead = True
            raise WorkerGone("it was gone")
        if workload == self.fatal_task:
            worker.dead = True
            raise WorkerDied("it crashed", 1.0)
        if method == "open":
            return [f"history of {workload}"]
        if method == "observe":
            return [f"sample {observation.identity}" for observation in arguments[1]]
        return Proposed((), 0.1)

    async def _learn(self, worker: FakeWorker, _: str, *learning: Any) -> CostModel:
        if self.trainer_dies:
            worker.dead = True
            raise WorkerDied("it crashed", 1.0)
        _, seed, samples = learning
        assert seed == 1
        self.learned.append(list(samples))
        if self.learning is not None:
            await self.learning
        return CostModel(len(self.learned), len(samples), f"model {len(self.learned)}".encode())

    def models(self) -> list[list[bytes]]:
        """Models that each searcher was given, in order."""
        return [[told[2] for told in worker.told if told[0] == "set_model"] for worker in self.searchers.started]


async def test_tasks_are_spread_over_the_searchers() -> None:
    scene = Scene(searchers=2)
    await asyncio.gather(*(scene.desk.open(opening("job", str(number))) for number in range(6)))
    opened = [[method for method, _ in worker.asked].count("open") for worker in scene.searchers.started]
    assert opened == [3, 3]


async def test_a_task_that_was_never_opened_is_unknown() -> None:
    with pytest.raises(UnknownTask):
        await Scene().desk.propose(Propose(TaskKey("job", "w"), 4))


async def test_a_dead_searcher_takes_only_its_own_tasks_with_it() -> None:
    scene = Scene(searchers=2)
    await scene.desk.open(opening("job", "first"))
    await scene.desk.open(opening("job", "second"))
    scene.fatal_task = "first"
    with pytest.raises(UnknownTask):
        await scene.desk.propose(Propose(TaskKey("job", "first"), 4))
    await scene.desk.propose(Propose(TaskKey("job", "second"), 4))
    assert scene.searchers.started[1].limit == 60
    scene.fatal_task = ""
    with pytest.raises(UnknownTask):
        await scene.desk.propose(Propose(TaskKey("job", "first"), 4))
    await scene.desk.open(opening("job", "first"))
    await scene.desk.propose(Propose(TaskKey("job", "first"), 4))
    assert len(scene.searchers.started) == 3


async def test_searchers_that_went_all_together_cost_a_task_nothing() -> None:
    scene = Scene(searchers=2 * MOST_DEATHS)
    scene.desk.warm_up()
    for searcher in scene.searchers.started:
        searcher.pid = 0
    await scene.desk.open(opening("j", "w"))
    await scene.desk.propose(Propose(TaskKey("j", "w"), 1))


async def test_a_task_that_kills_every_searcher_is_given_up() -> None:
    scene = Scene()
    scene.fatal_task = "poison"
    with pytest.raises(ComputeFailed, match=f"{MOST_DEATHS} times"):
        await scene.desk.open(opening("job", "poison"))


async def test_results_are_learned_in_batches_and_every_searcher_gets_the_model() -> None:
    scene = Scene(searchers=2)
    await scene.desk.open(opening("job", "w"))
    await settle()
    scene.learning = asyncio.get_running_loop().create_future()
    for identity in "abc":
        # Returns while the trainer is busy.
        await scene.desk.observe(observing("job", "w", identity))
        await settle()
    assert scene.learned == [["history of w"], ["sample a"]]
    scene.learning.set_result(None)
    await settle()
    assert scene.learned[2:] == [["sample b", "sample c"]]
    assert scene.models() == [[b"model 1", b"model 2", b"model 3"]] * 2


async def test_a_task_that_is_opened_again_brings_what_a_dead_searcher_may_have_kept_to_itself() -> None:
    """The trainer leaves out what it knows already."""
    scene = Scene(searchers=1)
    await scene.desk.open(opening("job", "w"))
    await settle()
    scene.fatal_task = "w"
    with pytest.raises(UnknownTask):
        await scene.desk.propose(Propose(TaskKey("job", "w"), 4))
    scene.fatal_task = ""
    await scene.desk.open(opening("job", "w"))
    await settle()
    assert scene.learned == [["history of w"], ["history of w"]]
    # The searcher that came in its place knows the model at once (this fake trainer fits anew each time).
    assert scene.models() == [[b"model 1"], [b"model 1", b"model 2"]]


async def test_a_trainer_that_died_learns_everything_again() -> None:
    scene = Scene(searchers=1)
    await scene.desk.open(opening("job", "w"))
    await settle()
    # A trainer that hangs is killed: it holds a permit, and nothing is timed meanwhile.
    assert scene.trainers.started[0].limit == 60
    scene.trainer_dies = True
    await scene.desk.observe(observing("job", "w", "a"))
    await settle()
    scene.trainer_dies = False
    with pytest.raises(UnknownTask):
        await scene.desk.propose(Propose(TaskKey("job", "w"), 4))
    await scene.desk.open(opening("job", "w"))
    await settle()
    assert scene.learned == [["history of w"], ["history of w"]]
    assert len(scene.trainers.started) == 2


async def test_a_closed_job_is_forgotten_and_another_is_not() -> None:
    scene = Scene(searchers=1)
    await scene.desk.open(opening("job", "w"))
    await scene.desk.open(opening("other", "w"))
    assert not scene.desk.idle
    scene.desk.close("job")
    with pytest.raises(UnknownTask):
        await scene.desk.propose(Propose(TaskKey("job", "w"), 4))
    await scene.desk.propose(Propose(TaskKey("other", "w"), 4))
    scene.desk.close("other")
    assert scene.desk.idle
