"""Many small writes as few statements: what a thousand devices report at once is written together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.schedules.apply import apply
from tunefarm_coordinator.schedules.changes import (
    AddDevices,
    AddRecords,
    AppendEvents,
    Change,
    DeviceFacts,
    JournalEntry,
)
from tunefarm_coordinator.schedules.record import Record

# What outcomes are written as; none of these depends on another kind.
_JOINABLE = (AppendEvents, AddDevices, AddRecords)


@dataclass(frozen=True)
class ChangeSet:
    """Changes that are applied together, as a call of the writer's."""

    changes: tuple[Change, ...]

    def __call__(self, connection: sa.Connection) -> None:
        for change in self.changes:
            apply(change, connection)

    @property
    def joinable(self) -> bool:
        """Whether it may be applied together with its neighbours."""
        return all(isinstance(change, _JOINABLE) for change in self.changes)


def joined(calls: Sequence[Callable[[sa.Connection], Any]]) -> ChangeSet | None:
    """One call that does what these do, each in its turn, if all succeed; None: they can't be joined."""
    events: dict[str, list[JournalEntry]] = {}
    devices: list[DeviceFacts] = []
    records: list[Record] = []
    for call in calls:
        if not isinstance(call, ChangeSet) or not call.joinable:
            return None
        for change in call.changes:
            match change:
                case AppendEvents():
                    events.setdefault(change.job_id, []).extend(change.events)
                case AddDevices():
                    devices += change.devices
                case AddRecords():
                    records += change.records
    appended = [AppendEvents(job_id, tuple(entries)) for job_id, entries in events.items()]
    return ChangeSet((*appended, AddDevices(tuple(devices)), AddRecords(tuple(records))))
