"""What a user means by a target, on the farm as it is now."""

import json
import math
import platform
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tunefarm_coordinator.errors import InvalidInput, NoDevice
from tunefarm_coordinator.farm.messages import FarmDevice
from tunefarm_coordinator.farm.placement import parse_target, serves

HOST = "host"
# Compute capability that TF32 came with, as in "sm_80".
FIRST_WITH_TF32 = 80
GIB = 2**30


def by_name(text: str, devices: Sequence[FarmDevice]) -> str | None:
    """The target of the devices that `text` names: "host" (the farm's only CPU target), a kind ("cuda"), a device's
    name or id, or a label's value. None: it names no device, so it is a TVM target itself.

    Raises:
        InvalidInput: devices of that name have several targets.
        NoDevice: "host", and no CPU is registered.
    """
    if text == HOST:
        named = [device for device in devices if parse_target(device.target).kind == "llvm"]
        if not named:
            raise NoDevice(f"no CPU device is registered{_which(devices)}")
    else:
        named = [device for device in devices if text in _names(device)]
    targets = sorted({device.target for device in named})
    if len(targets) > 1:
        raise InvalidInput(f"target {text!r} could be any of {', '.join(targets)}: say which")
    return targets[0] if targets else None


def _names(device: FarmDevice) -> set[str]:
    return {device.name, device.device_id, parse_target(device.target).kind, *device.labels.values()}


def check_served(target: str, devices: Sequence[FarmDevice]) -> None:
    """Raises NoDevice, naming the devices that there are, if none serves the target (TVM's JSON)."""
    if not any(serves(device, target) for device in devices):
        raise NoDevice(f"no device serves the target {target}{_which(devices)}")


def as_measured(target: str, measured: Iterable[str]) -> str:
    """The target (TVM's JSON) in the words of one that was measured on and means the same, if there is one. Agents say
    what system their CPU runs ("mtriple"); who leaves it out means this machine's, and who writes it may write it
    otherwise (x86_64-unknown-linux-gnu)."""
    wanted, known_targets = json.loads(target), sorted(measured)
    if "mtriple" in wanted and target in known_targets:
        return target
    here = _system(str(wanted["mtriple"])) if "mtriple" in wanted else (platform.machine(), "linux")
    for known in known_targets:
        system = str(json.loads(known).get("mtriple", ""))
        if {**wanted, "mtriple": system} == json.loads(known) and _system(system) == here:
            return known
    return target


def _system(triple: str) -> tuple[str, str]:
    """Architecture, and the system if it is Linux."""
    architecture, *rest = triple.split("-")
    return architecture, "linux" if "linux" in rest else triple


def check_tf32(target: str) -> None:
    """Raises InvalidInput unless the target (TVM's JSON) is CUDA of compute capability 8.0 or more."""
    wanted = parse_target(target)
    arch = dict(wanted.attributes).get("arch", "")
    found = re.fullmatch(r"sm_(\d+)[af]?", arch)
    if wanted.kind == "cuda" and found and int(found[1]) >= FIRST_WITH_TF32:
        return
    has = f"{wanted.kind} {arch}".strip()
    raise InvalidInput(
        f"allow_tf32: TF32 is there on CUDA with compute capability 8.0 or more (arch sm_80), but the target is {has}: "
        "leave it out, or name another target"
    )


def common_class(target: str, devices: Iterable[FarmDevice]) -> str:
    """The device class that most of the target's devices are of: a job measures on one class only.

    Raises NoDevice if none serves the target.
    """
    classes = Counter(device.device_class for device in devices if serves(device, target))
    if not classes:
        raise NoDevice(f"no device serves the target {target}")
    return max(sorted(classes), key=classes.__getitem__)


def check_memory(size: int, target: str, devices: Iterable[FarmDevice]) -> None:
    """Raises NoDevice if none that serves the target holds a model that takes `size` bytes. One that does not say how
    much it has may."""
    known = [_memory_gib(device) for device in devices if serves(device, target)]
    most = max((math.inf if gib is None else gib for gib in known), default=math.inf)
    if size > most * GIB:
        raise NoDevice(
            f"the model takes about {size / GIB:.1f} GiB of memory while it runs, and no device of this target has more"
            f" than {most:g}: give smaller inputs, or register a larger device"
        )


def _memory_gib(device: FarmDevice) -> float | None:
    """Of a GPU its own; of a CPU its host's."""
    name = "memory_gib" if parse_target(device.target).kind == "llvm" else "gpu_memory_gib"
    return float(device.facts[name]) if name in device.facts else None


def _which(devices: Sequence[FarmDevice]) -> str:
    if not devices:
        return "; no device is registered at all: start one with `tunefarm-agent run --connect HOST:PORT`"
    return "; registered: " + ", ".join(sorted({f"{device.name} {device.target}" for device in devices}))
