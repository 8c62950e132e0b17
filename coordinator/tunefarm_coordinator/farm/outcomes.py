"""Outcomes on their way from an agent to the disk, and the acknowledgement on its way back."""

from collections.abc import Callable

from tunefarm_coordinator.farm.messages import (
    Acknowledge,
    Calibrated,
    Deliver,
    Instruction,
    LeaseRef,
    OutcomeArrived,
    OutcomeKind,
)
from tunefarm_coordinator.farm.records import DeviceRecord, LeaseRecord, WorkRecord
from tunefarm_coordinator.farm.works import WorkBook

_SLOWED = "measured while the device was slowed or others worked on it: it is measured again"
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
        elif record.probe:
            self._probed(event, record, lease, now)
        elif event.index in lease.rejected:
            self._drop(event, _SLOWED)
        else:
            self._judge(event, record, lease, now)

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

    def _judge(self, event: OutcomeArrived, record: WorkRecord, lease: LeaseRecord, now: float) -> None:
        """Believe an outcome, or have its item measured again."""
        holder = lease.holder
        newest = max(record.leases)
        open_item = event.index in record.work.wanted and event.index in record.missing()
        late = event.lease.attempt != newest or not open_item
        slowed = self._time_reference(event, record, lease, now)
        disturbed = event.disturbed and not holder.shared_for_good
        self._rest_from_others(holder, now)
        record.spent = 0
        lease.heard.add(event.index)
        holder.outcome_came(now, event.kind is OutcomeKind.FAILED)
        if record.current is lease:
            holder.health.did_well()
        doubted = slowed is not None or disturbed
        again = doubted and open_item and self._is_measured_again(event, record, lease)
        holder.clock.count(again)
        if again:
            record.remeasured[event.index] += 1
            holder.remeasured += 1
            lease.rejected.add(event.index)
            self._drop(event, _SLOWED)
        else:
            self._deliver(event, record, lease, late, slowed)
        holder.start_next(now)

    def _is_measured_again(self, event: OutcomeArrived, record: WorkRecord, lease: LeaseRecord) -> bool:
        """Whether an outcome from a disturbed device is not believed. A failure is one at any speed."""
        tries = self._book.policy.remeasure_tries
        return (
            event.kind is OutcomeKind.RESULT
            and record.remeasured[event.index] < tries
            and lease.holder.clock.may_remeasure()
        )

    def _time_reference(
        self, event: OutcomeArrived, record: WorkRecord, lease: LeaseRecord, now: float
    ) -> float | None:
        """Note the reference kernel's time around an outcome; how many times the usual one it is, if that is a lot."""
        if event.calibration is None or record.work.reference is None:
            return None
        holder = lease.holder
        slowed = holder.clock.slowed(event.calibration) if holder.clock.key == record.work.reference.key else None
        holder.clock.note(record.work.reference.key, event.calibration, now)
        self._tell_usual(lease)
        drift = holder.clock.drifted(now)
        if drift is not None and not holder.health.drifted:
            if holder.health.slow(now, drift):
                self._book.set_aside(holder, now, holder.health.reason)
            else:
                holder.clock.accept()
        return slowed

    def _rest_from_others(self, holder: DeviceRecord, now: float) -> None:
        """A device that others work on for long rests as one that drifts does; after enough rests that is how it is."""
        since = holder.busy_since
        if since is None or holder.sharing is None or holder.shared_for_good or holder.reference is None:
            return
        if now - since < self._book.policy.drift_seconds or holder.health.drifted:
            return
        if holder.health.occupied(now, holder.sharing.by):
            self._book.set_aside(holder, now, holder.health.reason)
        else:
            holder.shared_for_good = True

    def _probed(self, event: OutcomeArrived, record: WorkRecord, lease: LeaseRecord, now: float) -> None:
        """A device on probation timed its reference kernel."""
        holder = lease.holder
        if event.kind is not OutcomeKind.RESULT or event.calibration is None or record.work.reference is None:
            holder.health.lost(now, "its reference kernel can't be timed")
        else:
            holder.clock.note(record.work.reference.key, event.calibration, now)
            if holder.busy_since is not None and holder.sharing is not None:
                holder.shared_for_good = not holder.health.occupied(now, holder.sharing.by)
            elif holder.clock.well(event.calibration):
                holder.health.prove()
                holder.clock.recover()
            elif not holder.health.slow(now, event.calibration.seconds / (holder.clock.usual or 1.0)):
                # It is slower for good: its times are compared with those of its like from now on.
                holder.clock.accept()
            self._tell_usual(lease)
        lease.heard.add(event.index)
        record.settled.add(event.index)
        self._emit(Acknowledge(event.session, event.lease, event.index))
        self._book.close_if_complete(record, now)

    def _tell_usual(self, lease: LeaseRecord) -> None:
        clock = lease.holder.clock
        seconds = clock.news()
        if seconds is not None:
            self._emit(Calibrated(lease.device.fingerprint, clock.key, seconds))

    def _deliver(
        self, event: OutcomeArrived, record: WorkRecord, lease: LeaseRecord, late: bool, slowed: float | None
    ) -> None:
        record.arriving[event.index] += 1
        self._pending[event.lease, event.index] = event.session
        self._emit(
            Deliver(
                work_id=record.work.work_id,
                lease=event.lease,
                index=event.index,
                device=lease.device,
                agent_id=lease.holder.agent_id,
                late=late,
                report=event.report,
                remeasured=record.remeasured[event.index],
                slowed=slowed,
            )
        )

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
