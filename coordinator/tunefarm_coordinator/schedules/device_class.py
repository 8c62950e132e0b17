"""Device class: devices whose times may be compared. Derived from facts and calibration, never stored in a record."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

VERSION = "v1"
# What decides how fast a kernel is, as the agent names it. Not memory, machine id, stepping, or which cores of
# the machine are reserved: their number alone.
_DECIDING = frozenset({"architecture", "cpu", "vendor", "family", "model", "features", "cores", "reserved_cores"})
_DECIDING_PREFIX = "gpu"
_SLUG_LENGTH = 40
# Devices of equal facts whose reference times differ by more are not of one class.
LARGEST_DISAGREEMENT = 0.3


@dataclass(frozen=True)
class KnownDevice:
    """A device as the store has it. `references`: usual seconds of one call, by reference kernel."""

    fingerprint: str
    facts: Mapping[str, str]
    references: Mapping[str, float] = field(default_factory=dict)


def device_classes(devices: Sequence[KnownDevice]) -> dict[str, str]:
    """The class of each device by fingerprint; `devices` in the order in which they became known.

    Devices of equal facts are one class, unless a reference kernel that they share says otherwise. A device joins the
    first of its like whose founder, the one that was known first, it agrees with, or founds the next: so the first
    device of its facts never changes its class, whatever comes after it. One that was never calibrated joins the first.
    What calibration adds to the name stands behind a "/".
    """
    founders: dict[str, list[KnownDevice]] = defaultdict(list)
    classes = {}
    for device in devices:
        name = device_class(device.facts)
        known = founders[name]
        number = next((at for at, founder in enumerate(known) if _agree(device, founder)), len(known))
        if number == len(known):
            known.append(device)
        classes[device.fingerprint] = name if number == 0 else f"{name}/{number + 1}"
    return classes


def _agree(one: KnownDevice, other: KnownDevice) -> bool:
    shared = one.references.keys() & other.references.keys()
    ratios = [one.references[key] / other.references[key] for key in shared]
    return all(max(ratio, 1 / ratio) <= 1 + LARGEST_DISAGREEMENT for ratio in ratios)


def device_class(facts: Mapping[str, str]) -> str:
    """The class of devices with these facts, as far as facts tell, such as "v1:amd-epyc-9b14-0f3ac2b41d5e".

    Spelling does not matter (case, blanks, the order of CPU features). Devices with none of the deciding facts
    are compared by all their facts: never too widely. A change of this mapping is another VERSION.
    """
    plain = {name: _plain(name, value) for name, value in facts.items() if value}
    deciding = {name: value for name, value in plain.items() if name in _DECIDING or name.startswith(_DECIDING_PREFIX)}
    content = json.dumps(deciding or plain, sort_keys=True)
    readable = deciding.get("gpu") or deciding.get("cpu") or deciding.get("architecture") or "device"
    slug = re.sub(r"[^a-z0-9]+", "-", readable).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{VERSION}:{slug}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _plain(name: str, value: str) -> str:
    words = value.lower().replace(",", " ").split()
    if name == "features":
        return " ".join(sorted(set(words)))
    return str(len(words)) if name == "reserved_cores" else " ".join(words)
