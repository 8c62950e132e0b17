"""A store that could not be written is written again by itself, and nothing is leased meanwhile."""

import asyncio
import contextlib
import itertools
import sqlite3
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import sqlalchemy as sa

from tests.unit.farm.farm_scenes import device, work
from tests.unit.schedules.schedule_examples import job, model
from tunefarm_coordinator.control.attachment import Hello
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.store_watch import StoreWatch
from tunefarm_coordinator.errors import StoreError
from tunefarm_coordinator.farm.messages import Grant, Requested
from tunefarm_coordinator.schedules.changes import AppendEvents, JournalEntry
from tunefarm_coordinator.schedules.store import Store
from tunefarm_proto.v1 import farm_pb2


class FakeFullStore:
    """Fails until there is room."""

    def __init__(self) -> None:
        self.room = False
        self.failure: StoreError | None = StoreError("the disk is full")

    def resume(self) -> None:
        self.failure = None

    def check(self) -> "Future[None]":
        done: Future[None] = Future()
        if self.room:
            done.set_result(None)
        else:
            self.failure = StoreError("the disk is full")
            done.set_exception(self.failure)
        return done


class Told:
    """What the health service was told."""

    def __init__(self) -> None:
        self.said: list[bool] = []

    async def __call__(self, serving: bool) -> None:
        self.said.append(serving)


async def _fill(store: Store) -> None:
    for seq in itertools.takewhile(lambda _: store.failure is None, itertools.count(1)):
        entry = JournalEntry(seq, 1.0, "filler", {"filler": "x" * 4000})
        with contextlib.suppress(StoreError):
            await asyncio.wrap_future(store.write(AppendEvents("j1", (entry,))))
    assert "disk is full" in str(store.failure)


async def _nothing(*_: object) -> None:
    return None


async def test_nothing_is_leased_until_the_store_can_be_written() -> None:
    store, farm, told = FakeFullStore(), FarmControl(0), Told()
    watch = StoreWatch(cast(Store, store), farm, told)
    for _ in range(3):
        await watch.look()
    assert told.said == [False]
    attachment = farm.attach(Hello("a", "b1", (device(),)))
    farm.submit(work(payload=farm_pb2.Lease()), _nothing, _nothing)
    farm.feed(Requested(attachment.session, "cpu0", 1))
    granted = asyncio.create_task(attachment.next())
    await asyncio.sleep(0)
    assert not granted.done()
    store.room = True
    await watch.look()
    assert told.said == [False, True]
    assert isinstance(await granted, Grant)
    await watch.look()
    assert told.said == [False, True]


async def test_an_idle_coordinator_writes_again_once_the_disk_has_room(tmp_path: Path) -> None:
    """SQLite's own page limit stands for the disk's, of the first connection alone."""

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 60")

    sa.event.listen(sa.pool.Pool, "connect", limit)
    try:
        store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
        store.write(model(), job()).result()
        await _fill(store)
    finally:
        sa.event.remove(sa.pool.Pool, "connect", limit)
    with store:
        told = Told()
        watch = StoreWatch(store, FarmControl(0), told)
        await watch.look()
        assert told.said == [False, True]
        assert store.failure is None
        store.write(model("m2", digest="d2")).result()
