"""The farm desk: sessions, leases and placement as one pure function of events and time.

`FarmDesk.handle(event, now)` returns what is to be done; it does nothing itself, and knows no clock. All moves of
sessions, leases and devices stand in the tables of `states.py`.
"""

from collections.abc import Callable
from typing import Any

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.farm.matching import match, probe
from tunefarm_coordinator.farm.messages import (
    Attached,
    Cancel,
    Classified,
    Detached,
    Drained,
    EndReason,
    EndSession,
    Event,
    Expelled,
    Forget,
    Heartbeat,
    Instruction,
    LeaseFinished,
    LeaseRef,
    OutcomeArrived,
    OutcomeDurable,
    OutcomeRefused,
    Paused,
    Requested,
    Resumed,
    Submitted,
    Tick,
    Withdrawn,
)
from tunefarm_coordinator.farm.outcomes import OutcomeBook
from tunefarm_coordinator.farm.placement import parse_target
from tunefarm_coordinator.farm.records import DeviceKey, LeaseRecord, SessionRecord, WorkRecord
from tunefarm_coordinator.farm.roster import Roster
from tunefarm_coordinator.farm.states import FarmPolicy, LeaseMove, LeaseState, SessionMove, SessionState
from tunefarm_coordinator.farm.undecided import Undecided
from tunefarm_coordinator.farm.unserved import unserved
from tunefarm_coordinator.farm.views import DeviceView, view_of
from tunefarm_coordinator.farm.works import WorkBook

# These change nothing that a waiting piece of work waits for.
_NO_MATCH_AFTER = (Heartbeat, OutcomeArrived, OutcomeDurable)


class FarmDesk:
    """Decides who works on what. `epoch` is greater after every start of the coordinator (0 the first time).

    Events of sessions that are over are ignored: whoever sent them was told, or will be when it attaches again.
    """

    def __init__(self, epoch: int, policy: FarmPolicy | None = None) -> None:
        self.policy = policy or FarmPolicy()
        self._out: list[Instruction] = []
        self._roster = Roster(self.policy)
        self._book = WorkBook(epoch, self.policy, self._emit)
        self._outcomes = OutcomeBook(self._book, self._emit)
        self._undecided = Undecided()
        self._turn = 0
        self._paused = False
        self._recovered_at: float | None = None
        self._now = 0.0
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            Attached: self._attached,
            Detached: self._detached,
            Expelled: self._expelled,
            Requested: self._requested,
            Heartbeat: self._heartbeat,
            Submitted: self._submitted,
            Withdrawn: lambda e, now: self._book.withdraw(e.work_ids, e.job_id, now, e.reason),
            OutcomeArrived: self._outcome_arrived,
            OutcomeDurable: self._outcome_durable,
            OutcomeRefused: self._outcome_refused,
            LeaseFinished: self._lease_finished,
            Drained: self._drained,
            Resumed: self._resumed,
            Classified: lambda e, _now: self._roster.classify(e.classes),
            Paused: self._pause,
            Tick: self._tick,
        }

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """What the event makes necessary, in order. `now` never goes back.

        Raises:
            InvalidInput: work or a device that can't be understood; nothing has changed then.
            Conflict: see WorkBook.submit.
        """
        self._out = []
        self._now = now
        if self._recovered_at is None:
            self._recovered_at = now + self.policy.recovery
        self._handlers[type(event)](event, now)
        if not isinstance(event, _NO_MATCH_AFTER) and not self._paused:
            self._book.release_due(now)
            if isinstance(event, Tick):
                probe(self._book, self._roster.asking(), now)
            if len(self._book.backlog):
                self._turn = match(self._book, self._roster.asking(), self._roster, self._turn, now)
        return self._out

    def _pause(self, event: Paused, _now: float) -> None:
        self._paused = event.paused

    # ---- questions

    def devices(self) -> list[DeviceView]:
        """All devices, in a stable order: by agent, then device."""
        sessions = self._roster.sessions
        return [
            view_of(device, sessions.get(device.session or ""), self._now)
            for _, device in sorted(self._roster.devices.items())
        ]

    def known(self, agent_id: str, device_id: str) -> list[DeviceKey]:
        """Keys of the agent's devices (of the one, if `device_id` is given) that are here, were lately, or drain."""
        keys = {*self._roster.devices, *self._roster.draining}
        return sorted(key for key in keys if key[0] == agent_id and device_id in ("", key[1]))

    def present_sessions(self) -> list[str]:
        """Sessions that are live, or away and not yet given up."""
        return list(self._roster.sessions)

    def waiting(self) -> int:
        """Pieces of work that wait in line for a device."""
        return len(self._book.backlog)

    # ---- sessions

    def _attached(self, event: Attached, now: float) -> None:
        _check_devices(event)
        held: list[LeaseRecord] = []
        old = self._roster.session_of(event.agent_id)
        if old is not None:
            held = self._roster.leases_of(old)
            if old.state is SessionState.LIVE:
                message = f"agent {event.agent_id} attached again"
                self._emit(EndSession(old.session, EndReason.REPLACED, message))
            self._roster.move(old, SessionMove.ATTACHED_AGAIN, now)
        session = self._roster.enter(event, now)
        self._keep_or_lose(held, event, now)
        unknown = tuple(ref for ref in event.leases if not self._claim(ref, session, now))
        if unknown:
            self._emit(Forget(session.session, unknown))

    def _keep_or_lose(self, held: list[LeaseRecord], event: Attached, now: float) -> None:
        """Leases of the agent's last session: those that it names and whose device is still here go on."""
        devices = {device.device_id: device.fingerprint for device in event.devices}
        for lease in self._last_first(held):
            present = devices.get(lease.device.device_id) == lease.device.fingerprint
            if lease.ref in event.leases and present:
                self._book.hand_over(lease, event.session, now)
            else:
                reason = "its agent came back without it"
                self._book.end(lease, LeaseMove.LOSE, now, reason, blame=lease.boot_id != event.boot_id)

    def _claim(self, ref: LeaseRef, session: SessionRecord, now: float) -> bool:
        """Settle what becomes of a lease that an agent came with. False: nobody knows the work."""
        record = self._book.works.get(ref.lease_id)
        if record is None:
            if waits := self._may_be_asked_for(ref, now):
                self._undecided.keep_lease(ref, session.session)
            return waits
        lease = self._lease(record, ref, session, session.held_on.get(ref, ""))
        if lease is None:
            self._emit(Cancel(session.session, ref, "no device of this agent is known to hold it"))
        elif lease.state is LeaseState.HELD or lease.state is LeaseState.FINISHED:
            pass
        elif lease.holder.session != session.session or not self._book.adopt(lease, session.session, now):
            self._emit(Cancel(session.session, ref, "given to another, or over"))
        return True

    def _lease(self, record: WorkRecord, ref: LeaseRef, session: SessionRecord, device_id: str) -> LeaseRecord | None:
        """The agent's lease, also one that an earlier coordinator gave out to a device that is beyond doubt.
        `device_id`: the device that the agent says it is of; may be empty."""
        known = record.leases.get(ref.attempt)
        if known is not None:
            return known if known.holder.agent_id == session.agent_id else None
        holder = self._roster.holder_of(session, record, device_id)
        return None if holder is None else self._book.recall(record, ref, holder, session.session)

    def _detached(self, event: Detached, now: float) -> None:
        session = self._roster.live(event.session)
        if session is not None:
            self._roster.move(session, SessionMove.STREAM_ENDED, now)

    def _expelled(self, event: Expelled, now: float) -> None:
        """Nobody's fault but the agent's: no item is suspected."""
        session = self._roster.session_of(event.agent_id)
        if session is not None:
            self._lose(session, SessionMove.EXPELLED, EndReason.EXPELLED, event.reason, now)

    def _lose(
        self, session: SessionRecord, move: SessionMove, why: EndReason, reason: str, now: float, blame: bool = False
    ) -> None:
        leases = self._roster.leases_of(session)
        if session.state is SessionState.LIVE:
            self._emit(EndSession(session.session, why, reason))
        self._roster.move(session, move, now)
        for lease in self._last_first(leases):
            self._book.end(lease, LeaseMove.LOSE, now, reason, blame=blame)

    @staticmethod
    def _last_first(leases: list[LeaseRecord]) -> list[LeaseRecord]:
        """So that a lease which only waited behind another never looks like the one worked on."""
        return list(reversed(leases))

    def _requested(self, event: Requested, now: float) -> None:
        session = self._roster.live(event.session)
        if session is not None:
            session.seen = now
            self._roster.request(session, event.device_id, event.slots)

    def _heartbeat(self, event: Heartbeat, now: float) -> None:
        """Repair what both sides see differently: levels, not edges."""
        session = self._roster.live(event.session)
        if session is None:
            return
        session.seen = now
        self._take_levels(event, session, now)
        held = {lease.ref: lease for lease in self._roster.leases_of(session)}
        for ref in event.leases:
            if ref not in held and not self._is_finished(ref) and not self._may_be_asked_for(ref, now):
                self._emit(Cancel(event.session, ref, "given to another, or over"))
        for lease in self._last_first(list(held.values())):
            if lease.ref not in event.leases and now - lease.granted_at > self.policy.return_grace:
                reason = "its agent does not name it any more"
                self._emit(Cancel(event.session, lease.ref, reason))  # the grant may be on its way all the same
                self._book.end(lease, LeaseMove.LOSE, now, reason, blame=lease.orphaned)

    def _take_levels(self, event: Heartbeat, session: SessionRecord, now: float) -> None:
        """Temperatures, who else uses the devices, and the leases whose clock stood since the last heartbeat."""
        for device in self._roster.devices_of(session):
            device.temperature = event.temperatures.get(device.device.device_id)
            device.used_by_others(event.shared.get(device.device.device_id), now)
            for lease in device.leases:
                if lease.ref in event.waiting and lease.started_at is not None:
                    lease.waited += now - max(session.beat or lease.started_at, lease.started_at)
        session.beat = now

    def _is_finished(self, ref: LeaseRef) -> bool:
        record = self._book.works.get(ref.lease_id)
        lease = None if record is None else record.leases.get(ref.attempt)
        return lease is not None and lease.state is LeaseState.FINISHED

    # ---- leases and outcomes

    def _submitted(self, event: Submitted, now: float) -> None:
        self._book.submit(event.work, now, event.resumed)
        self._decide(event.work.work_id, now)

    def _may_be_asked_for(self, ref: LeaseRef, now: float) -> bool:
        """Whether the lease's job may not have come back from a restart yet."""
        recovering = self._recovered_at is not None and now < self._recovered_at
        return recovering and ref.lease_id not in self._book.works and self._book.of_earlier_epoch(ref)

    def _decide(self, work_id: str, now: float) -> None:
        """Settle what agents brought for this work before anybody asked for it."""
        leases, outcomes = self._undecided.take(work_id)
        for ref, name in leases.items():
            session = self._roster.live(name)
            if session is not None and not self._claim(ref, session, now):
                self._emit(Cancel(name, ref, "no job asks for it any more"))
        for outcome in outcomes:
            self._outcome_arrived(outcome, now)

    def _outcome_arrived(self, event: OutcomeArrived, now: float) -> None:
        session = self._roster.live(event.session)
        if session is not None:
            session.seen = now
            if self._may_be_asked_for(event.lease, now):
                self._undecided.keep_outcome(event)
                return
            record = self._book.works.get(event.lease.lease_id)
            lease = None if record is None else self._lease(record, event.lease, session, event.device_id)
            self._outcomes.arrived(event, record, lease, now)

    def _outcome_durable(self, event: OutcomeDurable, now: float) -> None:
        self._outcomes.durable(event.lease, event.index, now)

    def _outcome_refused(self, event: OutcomeRefused, now: float) -> None:
        """The agent loses its stream over this, and sends what it holds again when it is back."""
        name = self._outcomes.refused(event.lease, event.index, now, self.policy.return_grace)
        session = None if name is None else self._roster.live(name)
        if session is not None:
            self._emit(EndSession(session.session, EndReason.OUTCOME_REFUSED, event.message))
            self._roster.move(session, SessionMove.STREAM_ENDED, now)

    def _lease_finished(self, event: LeaseFinished, now: float) -> None:
        session = self._roster.live(event.session)
        if session is None:
            return
        session.seen = now
        record = self._book.works.get(event.lease.lease_id)
        lease = None if record is None else record.leases.get(event.lease.attempt)
        if lease is not None and lease.state is LeaseState.HELD and lease.session == event.session:
            move = LeaseMove.FINISH if event.failure is None else LeaseMove.GIVE_UP
            reason = event.failure or "finished without every outcome"
            failed = event.failure is not None and event.device_failed
            self._book.end(lease, move, now, reason, blame=lease.orphaned, device_failed=failed)

    # ---- maintenance

    def _drained(self, event: Drained, now: float) -> None:
        for key in event.devices:
            device = self._roster.drain(key, event.reason)
            if device is not None:
                self._book.set_aside(device, now, f"its device drains: {event.reason}")

    def _resumed(self, event: Resumed, now: float) -> None:
        for key in event.devices:
            self._roster.resume(key, now)

    # ---- time

    def _tick(self, _event: Tick, now: float) -> None:
        for session in self._roster.silent(now):
            reason = f"nothing heard of agent {session.agent_id} for {self.policy.session_timeout:.0f} s"
            self._lose(session, SessionMove.TIMED_OUT, EndReason.SILENT, reason, now, blame=True)
        for device in self._roster.devices.values():
            device.health.release_if_due(now)
            for lease in self._last_first(device.leases):
                self._expire(lease, now)
        self._roster.forget_gone(now)
        for told in unserved(self._book, self._roster):
            self._emit(told)
        if self._recovered_at is not None and now >= self._recovered_at:
            for work_id in sorted(self._undecided.work_ids()):
                self._decide(work_id, now)

    def _expire(self, lease: LeaseRecord, now: float) -> None:
        work = lease.record.work
        limit = work.fetch_limit + work.time_limit + self.policy.expiry_slack
        if lease.state is not LeaseState.HELD or lease.started_at is None:
            return
        if now > lease.started_at + lease.waited + limit:
            reason = f"not done after {limit:.0f} s of work"
            self._emit(Cancel(lease.session, lease.ref, reason))
            self._book.end(lease, LeaseMove.EXPIRE, now, reason, blame=True)

    def _emit(self, instruction: Instruction) -> None:
        self._out.append(instruction)


def _check_devices(event: Attached) -> None:
    """Raises InvalidInput for devices that placement could not tell apart or place on."""
    names = [device.device_id for device in event.devices]
    if not names or not all(names) or len(set(names)) < len(names):
        raise InvalidInput(f"agent {event.agent_id}: device ids must be given and differ: {names}")
    for device in event.devices:
        parse_target(device.target)
