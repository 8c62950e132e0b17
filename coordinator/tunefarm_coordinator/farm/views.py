"""The farm as others see it: snapshots, never the desk's own records."""

from dataclasses import dataclass
from enum import Enum

from tunefarm_coordinator.farm.messages import FarmDevice
from tunefarm_coordinator.farm.records import DeviceRecord, SessionRecord
from tunefarm_coordinator.farm.states import Health, SessionState


class DeviceState(Enum):
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    QUARANTINED = "quarantined"
    LOST = "lost"


@dataclass(frozen=True)
class DeviceView:
    """One device now.

    Attributes:
        measured, failed, remeasured: outcomes since the coordinator started; those that failed; those not believed.
        seen: the desk's clock when its agent was last heard of.
        rate: outcomes a second, lately.
        temperature: degrees Celsius; reference_seconds: one call of the reference kernel, as last timed. None: unknown.
    """

    agent_id: str
    device: FarmDevice
    state: DeviceState
    reason: str
    running: str
    measured: int
    failed: int
    seen: float
    remeasured: int = 0
    rate: float = 0.0
    temperature: float | None = None
    reference_seconds: float | None = None


def view_of(record: DeviceRecord, session: SessionRecord | None, now: float) -> DeviceView:
    """A snapshot of the device under its agent's present session."""
    state, reason = _state_of(record, session)
    lease = record.working_on()
    running = "" if lease is None else f"{lease.record.work.kind.value} {lease.ref.lease_id}"
    seen = record.seen if session is None else session.seen
    return DeviceView(
        agent_id=record.agent_id,
        device=record.device,
        state=state,
        reason=reason,
        running=running,
        measured=record.measured,
        failed=record.failed,
        seen=seen,
        remeasured=record.remeasured,
        rate=record.rate(now),
        temperature=record.temperature if session is not None else None,
        reference_seconds=record.clock.last,
    )


def _state_of(record: DeviceRecord, session: SessionRecord | None) -> tuple[DeviceState, str]:
    if session is None:
        drains = "" if record.draining is None else f"; draining: {record.draining}"
        return DeviceState.LOST, f"its agent is gone{drains}"
    if session.state is SessionState.AWAY:
        return DeviceState.LOST, "its agent's stream ended; it may come back"
    if record.draining is not None:
        return DeviceState.DRAINING, record.draining
    if record.health.state is Health.QUARANTINED:
        return DeviceState.QUARANTINED, record.health.reason
    if record.wants_probe:
        return DeviceState.QUARANTINED, f"on probation: {record.health.reason}"
    shared = "" if record.sharing is None else f"shared with {record.sharing.by}"
    return (DeviceState.BUSY if record.leases else DeviceState.IDLE), shared
