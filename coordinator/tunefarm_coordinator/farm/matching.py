"""Waiting work meets devices that asked for it."""

from collections.abc import Iterable

from tunefarm_coordinator.farm.placement import fits
from tunefarm_coordinator.farm.records import DeviceRecord, WorkRecord
from tunefarm_coordinator.farm.roster import Roster
from tunefarm_coordinator.farm.works import WorkBook


def match(book: WorkBook, devices: Iterable[DeviceRecord], roster: Roster, turn: int, now: float) -> int:
    """Grant leases until no device that asked is left, or nothing that waits fits one.

    Devices with the fewest leases go first, then those that waited longest: a device gets its second lease only
    after every other got its first. `devices` are those that asked. Returns the next free turn.
    """
    hungry = [device for device in devices if device.free() > 0]
    while hungry and len(book.backlog):
        hungry.sort(key=lambda device: (len(device.leases), device.turn))
        fed = []
        for device in hungry:
            if _grant_next(book, device, roster, now):
                device.turn = turn = turn + 1
                fed.append(device)
        hungry = [device for device in fed if device.free() > 0]
    return turn


def probe(book: WorkBook, devices: Iterable[DeviceRecord], now: float) -> None:
    """Have devices that come back from quarantine time their reference kernel, where they have one."""
    for device in devices:
        if device.wants_probe and device.slots > 0 and not device.leases and device.session is not None:
            book.probe(device, device.session, now)


def _grant_next(book: WorkBook, device: DeviceRecord, roster: Roster, now: float) -> bool:
    classes = roster.classes()

    def allows(work_id: str) -> bool:
        record = book.works[work_id]
        return bool(record.missing()) and not _better_elsewhere(record, device, roster)

    work_id = book.backlog.take(
        device.device.device_class, lambda requirement: fits(device.device, requirement, classes), allows
    )
    if work_id is None or device.session is None:
        return False
    book.grant(book.works[work_id], device, device.session, now)
    return True


def _better_elsewhere(record: WorkRecord, device: DeviceRecord, roster: Roster) -> bool:
    """Whether this device lost the work before and another one, in good health and at work, never did."""
    return device.key in record.avoid and any(
        other.key not in record.avoid
        and other.draining is None
        and other.health.room() > 0
        and (other.slots > 0 or other.leases)
        and fits(other.device, record.requirement, roster.classes())
        for other in roster.live_devices()
    )
