"""Who is here: sessions of agents, and their devices over all sessions."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tunefarm_coordinator.farm.calibration import ReferenceClock
from tunefarm_coordinator.farm.health import DeviceHealth
from tunefarm_coordinator.farm.messages import Attached, FarmDevice
from tunefarm_coordinator.farm.placement import fits
from tunefarm_coordinator.farm.records import DeviceKey, DeviceRecord, LeaseRecord, SessionRecord, WorkRecord
from tunefarm_coordinator.farm.states import (
    SESSION_MOVES,
    FarmPolicy,
    SessionMove,
    SessionState,
    moved,
)


class Roster:
    """Sessions that are live or away, and every device that was seen not too long ago."""

    def __init__(self, policy: FarmPolicy) -> None:
        self.sessions: dict[str, SessionRecord] = {}
        self.devices: dict[DeviceKey, DeviceRecord] = {}
        # Devices that drain, and why; also those that are not here.
        self.draining: dict[DeviceKey, str] = {}
        self._by_agent: dict[str, str] = {}
        # Devices that asked for work and did not get all of it yet; some may have left. A thousand devices are many to
        # look at for each message of one.
        self._asking: dict[DeviceKey, DeviceRecord] = {}
        self._classes: frozenset[str] | None = None
        self._policy = policy

    def session_of(self, agent_id: str) -> SessionRecord | None:
        """The agent's present session, live or away."""
        session = self._by_agent.get(agent_id)
        return None if session is None else self.sessions[session]

    def live(self, session: str) -> SessionRecord | None:
        """The session, if its stream is open."""
        record = self.sessions.get(session)
        return record if record is not None and record.state is SessionState.LIVE else None

    def live_devices(self) -> list[DeviceRecord]:
        return [d for d in self.devices.values() if d.session is not None and self.live(d.session)]

    def present_devices(self) -> list[DeviceRecord]:
        """Devices whose session is live, or away and may come back."""
        return [device for device in self.devices.values() if device.session is not None]

    def request(self, session: SessionRecord, device_id: str, slots: int) -> None:
        """The device has room for so many more leases."""
        device = self.devices.get((session.agent_id, device_id))
        if device is not None and device.session == session.session:
            device.slots = slots
            self._asking[device.key] = device

    def asking(self) -> list[DeviceRecord]:
        """Devices whose session is live and that have room for more leases."""
        self._asking = {key: device for key, device in self._asking.items() if device.slots > 0}
        return list(self._asking.values())

    def classes(self) -> frozenset[str]:
        """The classes of all devices; kept until a device changes, as placement asks at every turn."""
        if self._classes is None:
            self._classes = frozenset(device.device.device_class for device in self.devices.values())
        return self._classes

    def devices_of(self, session: SessionRecord) -> list[DeviceRecord]:
        return [device for device in session.devices if device.session == session.session]

    def leases_of(self, session: SessionRecord) -> list[LeaseRecord]:
        return [lease for device in self.devices_of(session) for lease in device.leases]

    def enter(self, event: Attached, now: float) -> SessionRecord:
        """Write down a new session and its devices. An older one of the same agent has to be gone by now."""
        session = SessionRecord(event.session, event.agent_id, event.boot_id, now, held_on=event.held_on)
        self.sessions[event.session] = session
        self._by_agent[event.agent_id] = event.session
        for device in event.devices:
            record = self._device(event.agent_id, device)
            record.session, record.slots, record.seen = event.session, 0, now
            record.boot_id = event.boot_id
            session.devices.append(record)
        return session

    def move(self, session: SessionRecord, move: SessionMove, now: float) -> None:
        """Move a session; one that is neither live nor away afterwards is gone, and so are its devices."""
        session.state = moved(SESSION_MOVES, session.state, move)
        devices = self.devices_of(session)
        for device in devices:
            device.slots = 0
            device.seen = session.seen
        if session.state is SessionState.AWAY:
            session.seen = now
            return
        for device in devices:
            device.session = None
        del self.sessions[session.session]
        del self._by_agent[session.agent_id]

    def holder_of(self, session: SessionRecord, work: WorkRecord, device_id: str) -> DeviceRecord | None:
        """The session's device of that id, if it can have worked on this; for an empty id the only device that can,
        None where there is a choice."""
        classes = self.classes()
        able = [
            device
            for device in self.devices_of(session)
            if device_id in ("", device.device.device_id) and fits(device.device, work.requirement, classes)
        ]
        return able[0] if len(able) == 1 else None

    def silent(self, now: float) -> Iterator[SessionRecord]:
        """Sessions that nothing was heard of for too long."""
        timeout = self._policy.session_timeout
        yield from [session for session in self.sessions.values() if now - session.seen > timeout]

    def forget_gone(self, now: float) -> None:
        """Drop devices that have been gone for long."""
        for key, device in list(self.devices.items()):
            gone = device.session is None and not device.leases
            if gone and now - device.seen > self._policy.forget_device_after:
                del self.devices[key]
                self._classes = None

    def drain(self, key: DeviceKey, reason: str) -> DeviceRecord | None:
        """The device gets nothing more. Returns it, if it is here or was lately."""
        self.draining[key] = reason
        device = self.devices.get(key)
        if device is not None:
            device.draining = reason
        return device

    def resume(self, key: DeviceKey, now: float) -> None:
        """The device gets work again; what it was quarantined for, and what was usual of it, is forgotten."""
        self.draining.pop(key, None)
        device = self.devices.get(key)
        if device is not None:
            device.draining = None
            device.health.pardon(now)
            device.clock.accept()

    def classify(self, classes: Mapping[str, str]) -> None:
        """Device classes by fingerprint; a fingerprint that is not named keeps the one it has."""
        self._classes = None
        for device in self.devices.values():
            known = classes.get(device.device.fingerprint)
            if known is not None:
                device.device = replace(device.device, device_class=known)

    def _device(self, agent_id: str, device: FarmDevice) -> DeviceRecord:
        record = self.devices.get((agent_id, device.device_id))
        if record is None:
            record = DeviceRecord(agent_id, device, DeviceHealth(self._policy), ReferenceClock(self._policy))
            record.draining = self.draining.get(record.key)
            self.devices[record.key] = record
        record.device = device
        self._classes = None
        return record
