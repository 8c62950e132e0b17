"""Facts from another store, taken in as far as they can be believed.

Taking in is idempotent, commutative and associative: records and devices are named by their content, and of a
candidate's traces and a workload's texts, of which several may say the same, one is chosen whatever the order
(`apply`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.apply import add_records, add_traces, add_workloads, apply, parts
from tunefarm_coordinator.schedules.changes import AddDevices, CandidateTrace, DeviceFacts, KnownWorkload
from tunefarm_coordinator.schedules.pruning import pruned_records
from tunefarm_coordinator.schedules.record import Record, Source
from tunefarm_coordinator.schedules.retracting import retracted_records


@dataclass(frozen=True)
class OfferedRecord:
    """A record of another store's and its candidate's trace (JSON text)."""

    record: Record
    trace: str


Offer = KnownWorkload | DeviceFacts | OfferedRecord


@dataclass(frozen=True)
class Taken:
    """How much of what was offered was new, and how many records the store had."""

    records_added: int = 0
    records_known: int = 0
    workloads_added: int = 0
    devices_added: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(
            self.records_added + other.records_added,
            self.records_known + other.records_known,
            self.workloads_added + other.workloads_added,
            self.devices_added + other.devices_added,
        )


def taking(offers: Sequence[Offer]) -> Callable[[sa.Connection], Taken]:
    """A call of the writer's that takes all of the offers in, or none of them.

    It raises InvalidInput (a record that does not call itself imported, text that no store holds) and Conflict (a
    device's fingerprint stands for other facts here).
    """

    def work(connection: sa.Connection) -> Taken:
        workloads = [offer for offer in offers if isinstance(offer, KnownWorkload)]
        devices = [offer for offer in offers if isinstance(offer, DeviceFacts)]
        records = [offer for offer in offers if isinstance(offer, OfferedRecord)]
        if any(offer.record.source is not Source.IMPORTED for offer in records):
            raise InvalidInput("a record of another store's is to be marked as imported")
        new_workloads = _new(connection, tables.workloads.c.workload, [offer.workload for offer in workloads])
        new_devices = _new(connection, tables.devices.c.fingerprint, [offer.fingerprint for offer in devices])
        add_workloads(connection, workloads, imported=True)
        apply(AddDevices(tuple(devices)), connection)
        ids = [offer.record.record_id for offer in records]
        aside = retracted_records(connection, ids) | pruned_records(connection, ids)
        taken = [offer for offer in records if offer.record.record_id not in aside]
        traces = [CandidateTrace(offer.record.workload, offer.record.identity, offer.trace) for offer in taken]
        add_traces(connection, traces, imported=True)
        added = add_records(connection, [offer.record for offer in taken])
        return Taken(added, len(records) - added, new_workloads, new_devices)

    return work


def _new(connection: sa.Connection, key: sa.Column[str], names: Sequence[str]) -> int:
    """How many of the names the table does not have."""
    wanted = set(names)
    known = {name for part in parts(list(wanted)) for name in connection.scalars(sa.select(key).where(key.in_(part)))}
    return len(wanted - known)
