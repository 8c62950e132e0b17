import asyncio
from typing import Any

import pytest

from tests.unit.compute.fake_workers import FakeWorker, Starter, settle
from tunefarm_coordinator.compute.messages import ComputeFailed
from tunefarm_coordinator.compute.model_pool import ModelPool
from tunefarm_coordinator.compute.pool import START_ATTEMPTS, Pool
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerGone


def build(worker: FakeWorker, _: str, request: str) -> str:
    """Dies of "crash"; is gone before it begins if the worker was marked so."""
    if worker.pid == 0:
        worker.dead = True
        raise WorkerGone("it was gone")
    if request == "crash":
        worker.dead = True
        raise WorkerDied("it crashed", 0.1)
    return f"built {request}"


def pool(starter: Starter, size: int = 2) -> Pool:
    return Pool(starter, size)


async def test_nothing_is_started_before_it_is_needed() -> None:
    starter = Starter(build)
    workers = pool(starter)
    assert starter.started == []
    assert await workers.call("build", "a") == "built a"
    assert len(starter.started) == 2


async def test_a_crash_is_the_callers_and_the_worker_is_replaced() -> None:
    starter = Starter(build)
    workers = pool(starter)
    with pytest.raises(WorkerDied):
        await workers.call("build", "crash")
    assert len(workers.workers) == 2
    assert not any(worker.dead for worker in workers.workers)
    assert await asyncio.gather(*(workers.call("build", str(number)) for number in range(5))) == [
        f"built {number}" for number in range(5)
    ]
    assert len(starter.started) == 3


async def test_a_worker_that_was_gone_costs_the_request_nothing() -> None:
    starter = Starter(build)
    workers = pool(starter, size=1)
    workers.warm_up()
    starter.started[0].pid = 0
    assert await workers.call("build", "a") == "built a"


async def test_workers_that_went_all_together_cost_the_request_nothing() -> None:
    starter = Starter(build)
    workers = pool(starter, size=2 * START_ATTEMPTS)
    workers.warm_up()
    for worker in starter.started:
        worker.pid = 0
    assert await workers.call("build", "a") == "built a"


async def test_workers_that_never_come_up_fail_the_request() -> None:
    def gone(worker: FakeWorker, *_: Any) -> None:
        worker.dead = True
        raise WorkerGone("no such module")

    starter = Starter(gone)
    with pytest.raises(ComputeFailed, match="no such module"):
        await pool(starter, size=1).call("build", "a")
    assert len(starter.started) == 1 + START_ATTEMPTS + 1  # the one that was there, the attempts, and the next one's


async def test_a_dismissed_pool_starts_again_when_it_is_needed() -> None:
    starter = Starter(build)
    workers = pool(starter, size=1)
    workers.warm_up()
    workers.dismiss()
    assert starter.started[0].dead
    assert workers.workers == []
    assert await workers.call("build", "a") == "built a"


async def test_a_model_worker_is_kept_for_the_next_request_and_ended_when_idle() -> None:
    starter = Starter(build)
    models = ModelPool(starter, 1, time_limit=60, idle_seconds=0)
    assert await models.call("prepare", "a") == "built a"
    assert await models.call("prepare", "b") == "built b"
    assert len(starter.started) == 1
    for _ in range(100):  # turns of the event loop
        await asyncio.sleep(0)
    assert starter.started[0].dead
    assert models.workers == []


async def test_a_model_worker_that_dies_is_an_error_with_its_reason() -> None:
    models = ModelPool(Starter(build), 1, time_limit=60, idle_seconds=60)
    with pytest.raises(ComputeFailed, match="prepare ended its process: it crashed"):
        await models.call("prepare", "crash")
    assert models.workers == []


async def test_a_model_worker_that_was_gone_costs_the_request_nothing() -> None:
    starter = Starter(build)
    models = ModelPool(starter, 1, time_limit=60, idle_seconds=60)
    assert await models.call("prepare", "a") == "built a"
    starter.started[0].pid = 0
    assert await models.call("prepare", "b") == "built b"
    assert [worker.dead for worker in starter.started] == [True, False]


async def test_a_request_that_is_given_up_ends_its_model_worker() -> None:
    starter = Starter(lambda *_: asyncio.get_running_loop().create_future())
    models = ModelPool(starter, 1, time_limit=60, idle_seconds=60)
    waiting = asyncio.create_task(models.call("prepare", "a"))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert starter.started[0].dead
    assert models.workers == []


async def test_a_model_worker_is_warmed_up_once_and_serves_the_first_request() -> None:
    starter = Starter(build)
    models = ModelPool(starter, 1, 10.0, 60.0)
    await models.warm_up()
    await models.warm_up()
    assert await models.call("build", "a") == "built a"
    assert [worker.warmed for worker in starter.started] == [1]


async def test_a_request_takes_the_worker_that_is_being_warmed_up() -> None:
    starter = Starter(build)
    models = ModelPool(starter, 1, 10.0, 60.0)
    warming = asyncio.create_task(models.warm_up())
    await asyncio.sleep(0)
    assert await models.call("build", "a") == "built a"
    await warming
    assert len(starter.started) == 1


async def test_a_model_worker_that_does_not_warm_up_is_replaced_for_the_request() -> None:
    starter = Starter(build)
    models = ModelPool(starter, 1, 10.0, 60.0)
    starter.lame = 1
    await models.warm_up()
    assert await models.call("build", "a") == "built a"
    assert len(starter.started) == 2
