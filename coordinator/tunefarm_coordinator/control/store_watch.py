"""A store that can't be written: users hear of it, devices get nothing new, and it is tried until it can be again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.errors import StoreError
from tunefarm_coordinator.schedules.store import Store

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class StoreWatch:
    """Looks after the store for as long as it runs. A job that waits for the store tries by itself as well; without
    one, a disk that was full for a minute would be full until the coordinator is started again."""

    def __init__(self, store: Store, farm: FarmControl, tell: Callable[[bool], Awaitable[None]]) -> None:
        """`tell`: whether the store is written, at each change."""
        self._store = store
        self._farm = farm
        self._tell = tell
        self._trouble = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                # A bug in one look must not end all of them.
                log.exception("the store was not looked at")
            await asyncio.sleep(RETRY_SECONDS)

    async def look(self) -> None:
        """One look, and one try where nothing is written."""
        failure = self._store.failure
        if failure is None:
            await self._turn(False, "")
            return
        await self._turn(True, str(failure))
        self._store.resume()
        try:
            await asyncio.wrap_future(self._store.check())
        except StoreError:
            return
        await self._turn(False, "")

    async def _turn(self, trouble: bool, why: str) -> None:
        if trouble is self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.error("the store can't be written: nothing is leased until it can", extra={"error": why})
        else:
            log.info("the store is written again")
        self._farm.pause(trouble)
        await self._tell(not trouble)
