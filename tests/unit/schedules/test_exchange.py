"""How a stream of batches is taken in."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import cast

import pytest

from tests.unit.schedules.schedule_examples import record
from tunefarm_coordinator.errors import StoreError
from tunefarm_coordinator.schedules.merging import Offer, Taken
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.exchange import Intake
from tunefarm_coordinator.service.schedule_messages import record_message
from tunefarm_proto.v1 import schedule_pb2


class _SlowStore:
    """One whose commits end when the test says so."""

    def __init__(self) -> None:
        self.commits: list[Future[Taken]] = []
        self.called = asyncio.Event()

    def merge(self, offers: Sequence[Offer]) -> "Future[Taken]":  # noqa: ARG002 - it keeps nothing
        self.commits.append(Future())
        self.called.set()
        return self.commits[-1]


class _Stream:
    """Batches of one record; `read`: how many were asked for, `second`: once that is the second."""

    def __init__(self, count: int) -> None:
        self.read = 0
        self.second = asyncio.Event()
        self._count = count

    async def batches(self) -> AsyncIterator[schedule_pb2.ImportSchedulesRequest]:
        for number in range(1, self._count + 1):
            self.read = number
            if number == 2:
                self.second.set()
            item = schedule_pb2.ScheduleItem(record=record_message(record(f"c{number}"), "[]"))
            yield schedule_pb2.ImportSchedulesRequest(items=[schedule_pb2.NumberedItem(line=number, item=item)])


async def test_a_batch_is_checked_while_the_one_before_is_written() -> None:
    store, stream = _SlowStore(), _Stream(3)
    answers = Intake(cast("Store", store)).take(stream.batches())
    first = asyncio.ensure_future(anext(answers))
    await asyncio.wait_for(asyncio.gather(stream.second.wait(), store.called.wait()), 30)
    assert len(store.commits) == 1  # one after the other, and an answer once its batch is durable
    assert not first.done()
    store.commits[0].set_result(Taken(records_added=1))
    assert (await first).records_added == 1
    await answers.aclose()
    assert len(store.commits) == 1


async def test_what_the_store_says_ends_the_stream() -> None:
    store, stream = _SlowStore(), _Stream(3)
    answers = Intake(cast("Store", store)).take(stream.batches())
    first = asyncio.ensure_future(anext(answers))
    await asyncio.wait_for(store.called.wait(), 30)
    store.commits[0].set_exception(StoreError("the disk is full"))
    with pytest.raises(StoreError, match="full"):
        await first
    assert len(store.commits) == 1
