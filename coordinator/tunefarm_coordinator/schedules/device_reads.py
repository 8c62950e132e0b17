"""Reads of devices: what they are, how they compare, which drain. Methods block: from asyncio call them in a thread."""

import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.apply import parts
from tunefarm_coordinator.schedules.backend import Backend
from tunefarm_coordinator.schedules.changes import DeviceFacts
from tunefarm_coordinator.schedules.device_class import KnownDevice, device_classes

_NEWEST = sa.select(
    sa.select(sa.func.max(tables.devices.c.number)).scalar_subquery(),
    sa.select(sa.func.max(tables.calibrations.c.number)).scalar_subquery(),
)


class DeviceReads:
    """The part of the store that knows devices. Raises StoreError where the store can't be read."""

    _backend: Backend

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        # Newest row of each table that both derive from: while it is the same, so are they.
        self._classes_of: tuple[int | None, ...] | None = None
        self._classes_lock = threading.Lock()

    def device_facts(self, fingerprint: str) -> Mapping[str, str] | None:
        """What the device is, or None for a fingerprint that the store does not know."""
        devices = tables.devices.c
        with self._backend.reading() as connection:
            found = connection.scalar(sa.select(devices.facts).where(devices.fingerprint == fingerprint))
        if found is None:
            return None
        facts: dict[str, str] = json.loads(found)
        return facts

    def devices(self, fingerprints: Sequence[str]) -> list[DeviceFacts]:
        """What these devices are; unknown ones are left out."""
        columns = tables.devices.c
        query = sa.select(columns.fingerprint, columns.facts)
        with self._backend.reading() as connection:
            return [
                DeviceFacts(fingerprint, json.loads(facts))
                for part in parts(fingerprints)
                for fingerprint, facts in connection.execute(query.where(columns.fingerprint.in_(part)))
            ]

    def device_classes(self) -> dict[str, str]:
        """The class of every device that the store knows, by fingerprint."""
        with self._backend.reading() as connection:
            return dict(self._derived(connection))

    def drained(self) -> dict[tuple[str, str], str]:
        """Why each device that drains does, by (agent id, device id)."""
        columns = tables.drained.c
        query = sa.select(columns.agent_id, columns.device_id, columns.reason)
        with self._backend.reading() as connection:
            return {(row.agent_id, row.device_id): row.reason for row in connection.execute(query)}

    def of_class(self, connection: sa.Connection, name: str) -> tuple[str, ...]:
        """Fingerprints of the class."""
        with self._classes_lock:
            self._derive(connection)
            return self._members.get(name, ())

    def _derived(self, connection: sa.Connection) -> dict[str, str]:
        with self._classes_lock:
            self._derive(connection)
            return self._classes

    def _derive(self, connection: sa.Connection) -> None:
        """Brings classes and their members up to what the connection sees. The caller holds the lock."""
        devices, times = tables.devices.c, tables.calibrations.c
        newest: tuple[int | None, ...] = tuple(connection.execute(_NEWEST).one())
        if newest == self._classes_of:
            return
        references: dict[str, dict[str, float]] = {}
        for row in connection.execute(sa.select(times.fingerprint, times.reference, times.seconds)):
            references.setdefault(row.fingerprint, {})[row.reference] = row.seconds
        rows = connection.execute(sa.select(devices.fingerprint, devices.facts).order_by(devices.number))
        known = [KnownDevice(name, json.loads(facts), references.get(name, {})) for name, facts in rows]
        classes = device_classes(known)
        members: dict[str, list[str]] = defaultdict(list)
        for fingerprint, name in classes.items():
            members[name].append(fingerprint)
        self._members = {name: tuple(of) for name, of in members.items()}
        self._classes, self._classes_of = classes, newest
