"""What is kept of devices beyond a restart: that they drain, and how fast they are."""

import asyncio
import logging
import time

from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.errors import NotFound, TunefarmError
from tunefarm_coordinator.farm.messages import Calibrated, Drained, Resumed
from tunefarm_coordinator.schedules.changes import (
    AddDevices,
    Calibrate,
    Change,
    DeviceFacts,
    DrainDevices,
    ResumeDevices,
)
from tunefarm_coordinator.schedules.store import Store

log = logging.getLogger(__name__)

LONGEST_REASON = 500


class Maintenance:
    """Drains devices and puts them back; has device classes derived anew when a device's reference time moved."""

    def __init__(self, farm: FarmControl, store: Store) -> None:
        self._farm = farm
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()

    async def recover(self) -> None:
        """What an earlier coordinator was told. Before any agent is let in."""
        for key, reason in (await asyncio.to_thread(self._store.drained)).items():
            self._farm.feed(Drained((key,), reason))
        await self._classify()
        self._farm.on_calibrated = self._calibrated

    async def drain(self, agent_id: str, device_id: str, reason: str) -> list[tuple[str, str]]:
        """The device (all of the agent's, where none is named) gets nothing more. Durable on return.

        Raises NotFound: no such device is known. StoreError: it can't be kept; nothing has changed then.
        """
        keys = self._known(agent_id, device_id)
        reason = reason[:LONGEST_REASON] or "no reason given"
        await self._write(DrainDevices(keys, reason, time.time()))
        self._farm.feed(Drained(keys, reason))
        return list(keys)

    async def resume(self, agent_id: str, device_id: str) -> list[tuple[str, str]]:
        """An end to a drain or a quarantine. Durable on return. Raises as `drain` does."""
        keys = self._known(agent_id, device_id)
        await self._write(ResumeDevices(keys))
        self._farm.feed(Resumed(keys))
        return list(keys)

    async def stop(self) -> None:
        """Let go of what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _known(self, agent_id: str, device_id: str) -> tuple[tuple[str, str], ...]:
        keys = self._farm.known(agent_id, device_id)
        if not keys:
            what = f"device {device_id!r} of agent {agent_id!r}" if device_id else f"agent {agent_id!r} with a device"
            raise NotFound(f"no {what} is known here: `tunefarm devices` lists those that are")
        return tuple(keys)

    def _calibrated(self, calibrated: Calibrated) -> None:
        task = asyncio.create_task(self._keep(calibrated))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, calibrated: Calibrated) -> None:
        changes: list[Change] = [Calibrate(calibrated.fingerprint, calibrated.reference, calibrated.seconds)]
        if facts := self._farm.facts_of(calibrated.fingerprint):
            # The device may never have been in the store: a class needs its facts too.
            changes.insert(0, AddDevices((DeviceFacts(calibrated.fingerprint, facts),)))
        try:
            await self._write(*changes)
            await self._classify()
        except TunefarmError as error:
            # Classes stay as they were; the next time that the usual time moves is the next chance.
            log.warning("a device's reference time was not kept", extra={"error": str(error)})

    async def _classify(self) -> None:
        self._farm.classify(await asyncio.to_thread(self._store.device_classes))

    async def _write(self, *changes: Change) -> None:
        await asyncio.wrap_future(self._store.write(*changes))
