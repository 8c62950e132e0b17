"""Device class: devices whose times may be compared. Derived from facts, never stored in a record."""

import hashlib
import json
import re
from collections.abc import Mapping

VERSION = "v1"
# What decides how fast a kernel is, as the agent names it. Not memory, machine id, stepping, or which cores of
# the machine are reserved: their number alone.
_DECIDING = frozenset({"architecture", "cpu", "vendor", "family", "model", "features", "cores", "reserved_cores"})
_DECIDING_PREFIX = "gpu"
_SLUG_LENGTH = 40


def device_class(facts: Mapping[str, str]) -> str:
    """The class of a device with these facts, such as "v1:amd-epyc-9b14-0f3ac2b41d5e".

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
