"""The farm as others see it: snapshots, never the desk's own records."""

from dataclasses import dataclass
from enum import Enum

from tunefarm_coordinator.farm.messages import FarmDevice
from tunefarm_coordinator.farm.records import DeviceRecord, SessionRecord
from tunefarm_coordinator.farm.states import Health, SessionState


class DeviceState(Enum):
    IDLE = "idle"
    BUSY = "busy"
    QUARANTINED = "quarantined"
    LOST = "lost"


@dataclass(frozen=True)
class DeviceView:
    """One device now. `seen`: the desk's clock when its agent was last heard of; `measured` counts outcomes."""

    agent_id: str
    device: FarmDevice
    state: DeviceState
    reason: str
    running: str
    measured: int
    failed: int
    seen: float


def view_of(record: DeviceRecord, session: SessionRecord | None) -> DeviceView:
    """A snapshot of the device under its agent's present session."""
    state, reason = _state_of(record, session)
    lease = record.working_on()
    running = "" if lease is None else f"{lease.record.work.kind.value} {lease.ref.lease_id}"
    seen = record.seen if session is None else session.seen
    return DeviceView(record.agent_id, record.device, state, reason, running, record.measured, record.failed, seen)


def _state_of(record: DeviceRecord, session: SessionRecord | None) -> tuple[DeviceState, str]:
    if session is None:
        return DeviceState.LOST, "its agent is gone"
    if session.state is SessionState.AWAY:
        return DeviceState.LOST, "its agent's stream ended; it may come back"
    if record.health.state is Health.QUARANTINED:
        return DeviceState.QUARANTINED, record.health.reason
    return (DeviceState.BUSY if record.leases else DeviceState.IDLE), ""
