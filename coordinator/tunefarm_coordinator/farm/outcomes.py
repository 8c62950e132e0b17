"""Outcomes on their way from an agent to the disk, and the acknowledgement on its way back."""

from collections.abc import Callable

from tunefarm_coordinator.farm.messages import (
    Acknowledge,
    Deliver,
    Instruction,
    LeaseRef,
    OutcomeArrived,
    OutcomeKind,
)
from tunefarm_coordinator.farm.records import LeaseRecord, WorkRecord
from tunefarm_coordinator.farm.works import WorkBook

_RETURNED = (OutcomeKind.DEVICE_LOST, OutcomeKind.CANCELLED)


class OutcomeBook:
    """Delivers each outcome once for each (lease, attempt, index), and acknowledges it only when it is durable."""

    def __init__(self, book: WorkBook, emit: Callable[[Instruction], None]) -> None:
        self._book = book
        self._emit = emit
        # Delivered, not yet durable: the session that waits for the acknowledgement.
        self._pending: dict[tuple[LeaseRef, int], str] = {}

    def arrived(self, event: OutcomeArrived, record: WorkRecord | None, lease: LeaseRecord | None, now: float) -> None:
        """An agent sent an outcome, for the first time or again."""
        key = (event.lease, event.index)
        if key in self._pending:
            self._pending[key] = event.session
        elif record is None:
            self._drop(event, "its work is over or withdrawn")
        elif lease is None:
            self._drop(event, "no device of this agent is known to hold the lease")
        elif event.index >= record.work.item_count:
            self._drop(event, f"its work has {record.work.item_count} items")
        elif (event.lease.attempt, event.index) in record.durable:
            self._emit(Acknowledge(event.session, event.lease, event.index))
        elif event.kind in _RETURNED:
            self._returned(event, record, lease, now)
        else:
            self._deliver(event, record, lease, now)

    def durable(self, ref: LeaseRef, index: int, now: float) -> None:
        """A delivered outcome is safe: its item ended, and its agent may let go of it."""
        session = self._pending.pop((ref, index), None)
        if session is not None:
            self._emit(Acknowledge(session, ref, index))
        record = self._book.works.get(ref.lease_id)
        if session is None or record is None:
            return
        record.arriving[index] -= 1
        record.durable.add((ref.attempt, index))
        record.settled.add(index)
        self._book.close_if_complete(record, now)

    def refused(self, ref: LeaseRef, index: int, now: float, delay: float) -> str | None:
        """A delivered outcome is not safe: its item is open again. Returns the session that sent it."""
        session = self._pending.pop((ref, index), None)
        record = self._book.works.get(ref.lease_id)
        if session is not None and record is not None:
            record.arriving[index] -= 1
            if (lease := record.leases.get(ref.attempt)) is not None:
                lease.heard.discard(index)
            self._book.requeue(record, now, delay)
        return session

    def _deliver(self, event: OutcomeArrived, record: WorkRecord, lease: LeaseRecord, now: float) -> None:
        newest = max(record.leases)
        open_item = event.index in record.work.wanted and event.index in record.missing()
        late = event.lease.attempt != newest or not open_item
        record.arriving[event.index] += 1
        record.spent = 0
        lease.heard.add(event.index)
        lease.holder.measured += 1
        lease.holder.failed += event.kind is OutcomeKind.FAILED
        if record.current is lease:
            lease.holder.health.did_well()
        lease.holder.start_next(now)
        self._pending[event.lease, event.index] = event.session
        work_id = record.work.work_id
        agent_id = lease.holder.agent_id
        self._emit(Deliver(work_id, event.lease, event.index, lease.device, agent_id, late, event.report))

    def _returned(self, event: OutcomeArrived, record: WorkRecord, lease: LeaseRecord, now: float) -> None:
        """The agent has no outcome for the item; it is tried again when the lease ends."""
        self._emit(Acknowledge(event.session, event.lease, event.index))
        first = event.index not in lease.heard
        lease.heard.add(event.index)
        lease.returned.add(event.index)
        if first and event.kind is OutcomeKind.DEVICE_LOST and event.index in record.missing():
            self._book.suspect(lease, event.index)
            self._book.close_if_complete(record, now)

    def _drop(self, event: OutcomeArrived, why: str) -> None:
        self._emit(Acknowledge(event.session, event.lease, event.index, dropped=why))
