"""Pieces of work and their leases: given out, taken back, adopted, ended. Every item ends exactly once."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace

from tunefarm_coordinator.errors import Conflict, InvalidInput
from tunefarm_coordinator.farm.backlog import Backlog
from tunefarm_coordinator.farm.messages import (
    Cancel,
    Grant,
    Instruction,
    ItemLost,
    LeaseRef,
    LossKind,
    Suspected,
    Work,
    WorkKind,
)
from tunefarm_coordinator.farm.placement import Requirement, parse_target
from tunefarm_coordinator.farm.records import DeviceRecord, LeaseRecord, WorkRecord
from tunefarm_coordinator.farm.states import LEASE_MOVES, FarmPolicy, LeaseMove, LeaseState, moved

# attempt = epoch * GRANTS_PER_EPOCH + k: never the same twice, whatever restarts.
GRANTS_PER_EPOCH = 1000


class WorkBook:
    """Owns the pieces of work, what waits for a device, and what every lease has come to."""

    def __init__(self, epoch: int, policy: FarmPolicy, emit: Callable[[Instruction], None]) -> None:
        self.works: dict[str, WorkRecord] = {}
        self.backlog = Backlog()
        self.policy = policy
        self._epoch = epoch
        self._emit = emit
        self._not_before: dict[str, float] = {}
        self._sequence = itertools.count()
        self._grants_before: dict[str, dict[str, int]] = {}

    # ---- work comes and goes

    def submit(self, work: Work, now: float, resumed: bool) -> None:
        """Take work in. Work that is here already is left as it is.

        Raises:
            InvalidInput: no items, an index out of range, a target that is not JSON.
            Conflict: work of this id is over.
        """
        if work.item_count < 1 or not all(0 <= index < work.item_count for index in work.indices):
            raise InvalidInput(f"work {work.work_id}: {work.item_count} items, wanted: {work.indices}")
        requirement = Requirement(parse_target(work.target), work.fingerprint, work.device_class)
        known = self.works.get(work.work_id)
        if known is not None:
            if known.complete:
                raise Conflict(f"work {work.work_id} is over: submit what is to be done again under a new id")
            return
        record = WorkRecord(work, requirement, next(self._sequence))
        record.grants = self._grants_before.get(work.job_id, {}).get(work.work_id, 0)
        record.suspicions.update(work.suspicions)
        self.works[work.work_id] = record
        self.requeue(record, now, self.policy.return_grace if resumed else 0.0)

    def withdraw(self, work_ids: Iterable[str], job_id: str | None, now: float, reason: str) -> None:
        """Forget work. Its leases are cancelled; outcomes that come all the same are wanted by nobody."""
        doomed = [self.works[work_id] for work_id in work_ids if work_id in self.works]
        if job_id is not None:
            doomed += [r for r in self.works.values() if r.work.job_id == job_id and r not in doomed]
        for record in doomed:
            work = record.work
            if record.current is not None:
                self.cancel(record.current, now, reason)
            self._unqueue(work.work_id)
            del self.works[work.work_id]
            self._grants_before.setdefault(work.job_id, {})[work.work_id] = record.grants
        if job_id is not None:
            self._grants_before.pop(job_id, None)
            self.backlog.forget_job(job_id)

    # ---- leases

    def grant(self, record: WorkRecord, holder: DeviceRecord, session: str, now: float) -> None:
        """Give a lease on all missing items to a device that asked for one."""
        record.grants += 1
        ref = LeaseRef(record.work.work_id, self._epoch * GRANTS_PER_EPOCH + record.grants)
        indices = tuple(record.missing())
        lease = LeaseRecord(ref, record, holder, holder.device, session, indices, granted_at=now)
        lease.share = holder.device.device_class
        lease.charged = self.backlog.charge(record.work.job_id, lease.share, len(indices))
        self._hold(lease, now)
        holder.slots -= 1
        holder.reference = record.work.reference or holder.reference
        self._emit(Grant(session, holder.device.device_id, ref, indices, record.work))

    def probe(self, holder: DeviceRecord, session: str, now: float) -> None:
        """Have the device time its reference kernel, and nothing else."""
        if holder.reference is None:
            return
        device = holder.device
        work = Work(
            work_id=f"probe/{holder.agent_id}/{device.device_id}/{self._epoch}.{next(self._sequence)}",
            job_id="",
            target=device.target,
            item_count=1,
            kind=WorkKind.CALIBRATE,
            time_limit=self.policy.probe_limit,
            payload=holder.reference.payload,
            reference=holder.reference,
        )
        record = WorkRecord(work, Requirement(parse_target(work.target), None, None), 0, probe=True)
        self.works[work.work_id] = record
        self.grant(record, holder, session, now)

    def set_aside(self, holder: DeviceRecord, now: float, reason: str) -> None:
        """Put back in line what the device holds and has not begun."""
        for lease in [lease for lease in holder.leases if lease.started_at is None]:
            self.cancel(lease, now, reason)

    def end(
        self,
        lease: LeaseRecord,
        move: LeaseMove,
        now: float,
        reason: str,
        blame: bool = False,
        device_failed: bool = False,
    ) -> None:
        """The lease is over. `blame`: suspect the item that the device was at, if it was at this lease.
        `device_failed`: the device can't do its work at all, so that nothing counts against the lease's."""
        record, holder = lease.record, lease.holder
        at_work = holder.working_on() is lease
        unfinished = lease.unfinished()
        lease.state = moved(LEASE_MOVES, lease.state, move)
        holder.leases.remove(lease)
        record.current = None
        self._settle(lease, now)
        if unfinished and move is not LeaseMove.WITHDRAW:
            if device_failed:
                self._rest(lease, now, reason)
            else:
                self._count_loss(lease, move, at_work, now, reason)
            if blame and at_work:
                innocent = lease.returned | lease.rejected
                self._blame(lease, [index for index in unfinished if index not in innocent])
        holder.start_next(now)
        self.requeue(record, now, self.policy.retry_delay if move is LeaseMove.GIVE_UP else 0.0)

    def cancel(self, lease: LeaseRecord, now: float, reason: str) -> None:
        """Take a lease back that nobody needs any more. An agent that is through with it anyway is left in peace."""
        through = lease.heard.issuperset(lease.indices)
        if not through:
            self._emit(Cancel(lease.session, lease.ref, reason))
        done = through and not lease.unfinished()
        self.end(lease, LeaseMove.FINISH if done else LeaseMove.WITHDRAW, now, reason)

    def hand_over(self, lease: LeaseRecord, session: str, now: float) -> None:
        """The lease's agent is back under another session, and still holds it."""
        lease.state = moved(LEASE_MOVES, lease.state, LeaseMove.ADOPT)
        lease.orphaned = lease.orphaned or not lease.same_process
        lease.session, lease.boot_id, lease.granted_at = session, lease.holder.boot_id, now

    def adopt(self, lease: LeaseRecord, session: str, now: float) -> bool:
        """Give a lost lease back to its agent, unless its work is another's by now. Returns whether it did."""
        record = lease.record
        if lease.state is not LeaseState.LOST or record.current is not None or not lease.unfinished():
            return False
        if lease.same_process:
            self._forgive(lease)
        lease.orphaned = not lease.same_process and lease.suspect is None
        lease.state = moved(LEASE_MOVES, lease.state, LeaseMove.ADOPT)
        lease.session, lease.granted_at = session, now
        self._hold(lease, now)
        return True

    def recall(self, record: WorkRecord, ref: LeaseRef, holder: DeviceRecord, session: str) -> LeaseRecord | None:
        """Write down a lease that an earlier coordinator gave out, as lost; None if it can't be one."""
        if not self.of_earlier_epoch(ref):
            return None
        lease = LeaseRecord(ref, record, holder, holder.device, session, record.work.wanted, granted_at=0.0)
        lease.state = LeaseState.LOST
        record.leases[ref.attempt] = lease
        return lease

    def of_earlier_epoch(self, ref: LeaseRef) -> bool:
        """Whether an earlier coordinator gave the lease out."""
        return ref.attempt < self._epoch * GRANTS_PER_EPOCH

    def _settle(self, lease: LeaseRecord, now: float) -> None:
        """What the lease cost its job of the devices' time."""
        ran = 0.0 if lease.started_at is None else max(0.0, now - lease.started_at - lease.waited)
        items = len(lease.heard - lease.returned)
        self.backlog.settle(lease.record.work.job_id, lease.share, lease.charged, ran, items)

    def _hold(self, lease: LeaseRecord, now: float) -> None:
        self._unqueue(lease.ref.lease_id)
        lease.boot_id = lease.holder.boot_id
        lease.record.current = lease
        lease.record.leases[lease.ref.attempt] = lease
        lease.holder.leases.append(lease)
        lease.holder.start_next(now)

    def _rest(self, lease: LeaseRecord, now: float, reason: str) -> None:
        """The device rests, and what waits behind the lease goes elsewhere."""
        lease.record.avoid.add(lease.holder.key)
        lease.holder.health.failed(now, reason)
        self.set_aside(lease.holder, now, reason)

    def _count_loss(self, lease: LeaseRecord, move: LeaseMove, at_work: bool, now: float, reason: str) -> None:
        """Count the end against work and device; a lease that only waited behind another says nothing of either."""
        if move is not LeaseMove.FINISH:
            lease.record.avoid.add(lease.holder.key)
        if not at_work and move is LeaseMove.LOSE:
            return
        if lease.heard <= lease.returned:
            lease.record.spent += 1
            lease.record.last_loss = reason
            lease.spent = True
        if move is not LeaseMove.FINISH:
            lease.holder.health.lost(now, reason)

    # ---- items

    def suspect(self, lease: LeaseRecord, index: int) -> None:
        """The device was lost in the middle of this item. The second time, the item is at fault."""
        record = lease.record
        record.suspicions[index] += 1
        if record.suspicions[index] >= self.policy.suspicions:
            lost = (
                f"the device was lost {record.suspicions[index]} times while it ran this; last on {lease.device.name}"
            )
            self._lose(record, index, LossKind.RUN_ERROR, lost)
        else:
            self._emit(Suspected(record.work.work_id, index, record.suspicions[index]))

    def requeue(self, record: WorkRecord, now: float, delay: float = 0.0) -> None:
        """Put work without a lease back in line, after `delay` seconds, or end what was tried often enough."""
        if record.probe:
            if record.current is None:
                self.works.pop(record.work.work_id, None)
            return
        if record.current is None and (missing := record.missing()):
            work = record.work
            if record.spent >= self.policy.attempts or record.grants >= GRANTS_PER_EPOCH - 1:
                lost = f"{record.spent} leases in a row ended before any outcome, the last one: {record.last_loss}"
                for index in missing:
                    self._lose(record, index, LossKind.DEVICE_LOST, lost)
            elif delay > 0:
                self.backlog.discard(work.work_id)
                self._not_before[work.work_id] = now + delay
            else:
                self._push(record)
        self.close_if_complete(record, now)

    def in_line(self) -> list[WorkRecord]:
        """What waits for a device, now or in a moment."""
        return [record for record in self.works.values() if record.current is None and record.missing()]

    def close_if_complete(self, record: WorkRecord, now: float) -> None:
        """Once every item ended: free the device that still works on it, let go of the payload."""
        if not record.complete:
            return
        lease = record.current
        if lease is not None:
            self.cancel(lease, now, "every outcome is in already")
        self._unqueue(record.work.work_id)
        record.work = replace(record.work, payload=None)

    def release_due(self, now: float) -> None:
        """Put in line what has waited long enough."""
        for work_id in [work_id for work_id, due in self._not_before.items() if due <= now]:
            del self._not_before[work_id]
            self._push(self.works[work_id])

    def _blame(self, lease: LeaseRecord, unfinished: list[int]) -> None:
        if unfinished:
            lease.suspect = unfinished[0]
            self.suspect(lease, unfinished[0])

    def _forgive(self, lease: LeaseRecord) -> None:
        """The device was not lost after all, only out of reach."""
        record = lease.record
        if lease.suspect is not None and lease.suspect not in record.settled:
            record.suspicions[lease.suspect] -= 1
            self._emit(Suspected(record.work.work_id, lease.suspect, record.suspicions[lease.suspect]))
            lease.suspect = None
        if lease.spent and record.spent:
            record.spent -= 1
            lease.spent = False
        record.avoid.discard(lease.holder.key)

    def _lose(self, record: WorkRecord, index: int, kind: LossKind, message: str) -> None:
        record.settled.add(index)
        self._emit(ItemLost(record.work.work_id, index, kind, message))

    def _push(self, record: WorkRecord) -> None:
        work = record.work
        self.backlog.push(work.work_id, work.job_id, work.priority, record.requirement, record.sequence)

    def _unqueue(self, work_id: str) -> None:
        self.backlog.discard(work_id)
        self._not_before.pop(work_id, None)
