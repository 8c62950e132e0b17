"""Work that waits for nothing: every device that could do it failed again after its rests. Pure."""

from collections.abc import Iterable

from tunefarm_coordinator.farm.messages import Unserved
from tunefarm_coordinator.farm.placement import Requirement, fits
from tunefarm_coordinator.farm.records import DeviceRecord
from tunefarm_coordinator.farm.roster import Roster
from tunefarm_coordinator.farm.works import WorkBook


def unserved(book: WorkBook, roster: Roster) -> list[Unserved]:
    """What is to be told of work in line. Work for which no device is here at all waits on: one may come."""
    present = roster.present_devices()
    if not any(device.health.hopeless for device in present):
        return []
    classes = roster.classes()
    reasons: dict[Requirement, str] = {}
    found = []
    for record in book.in_line():
        if record.requirement not in reasons:
            able = [device for device in present if fits(device.device, record.requirement, classes)]
            reasons[record.requirement] = _reason(able)
        if reasons[record.requirement]:
            found.append(Unserved(record.work.work_id, reasons[record.requirement]))
    return found


def _reason(able: Iterable[DeviceRecord]) -> str:
    """Why none of these devices will do it; empty where one may."""
    devices = list(able)
    if not devices or not all(device.health.hopeless for device in devices):
        return ""
    worst = max(devices, key=lambda device: device.health.sentences)
    name = f"{worst.agent_id}/{worst.device.device_id}"
    others = f" (and {len(devices) - 1} more like it)" if len(devices) > 1 else ""
    return (
        f"no device that serves the target can do its work: {name}{others} rested {worst.health.sentences} times in "
        f"vain: {worst.health.reason}. Mend it (its agent's log says more) and put it back with "
        f"`tunefarm farm resume {name}`"
    )
