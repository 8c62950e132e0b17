"""Which device may run which code. Pure comparison of targets as JSON; nothing is compiled or looked up.

A device serves a target when code for that target runs there *and* is what the device would be tuned for:

- `kind` and the architecture (first part of `mtriple`) are equal; absent equals only absent;
- every other code generation attribute that the target names (`mcpu`, `arch`, `mabi`, `mfloat-abi`, `num-cores`)
  has the device's value, and its `mattr` are among the device's;
- all else (`keys`, `tag`, `host`, limits that TVM fills in by itself) says nothing about the device and is left out.

So a generic target runs on every device of its architecture, and a device's own target always on that device.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.farm.messages import FarmDevice

_COMPARED = ("mcpu", "arch", "mabi", "mfloat-abi", "num-cores")


@dataclass(frozen=True)
class TargetIdentity:
    """The part of a target that decides where its code may run."""

    kind: str
    architecture: str
    attributes: frozenset[tuple[str, str]]
    features: frozenset[str]


@dataclass(frozen=True)
class Requirement:
    """What a piece of work asks of a device. Pieces with equal requirements are interchangeable to placement."""

    target: TargetIdentity
    fingerprint: str | None
    device_class: str | None


@lru_cache(maxsize=4096)
def parse_target(text: str) -> TargetIdentity:
    """The identity of a target in TVM's JSON. Raises InvalidInput for anything else."""
    try:
        target = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"target is not JSON: {text[:200]!r}") from error
    if not isinstance(target, dict) or not isinstance(target.get("kind"), str):
        raise InvalidInput(f'target is not a JSON object with a "kind": {text[:200]!r}')
    features = target.get("mattr", [])
    if not isinstance(features, list):
        raise InvalidInput(f'"mattr" of a target is a list: {text[:200]!r}')
    return TargetIdentity(
        kind=target["kind"],
        architecture=str(target.get("mtriple", "")).partition("-")[0],
        attributes=frozenset((name, str(target[name])) for name in _COMPARED if target.get(name)),
        features=frozenset(str(feature) for feature in features),
    )


@lru_cache(maxsize=65536)
def _runs(own: TargetIdentity, wanted: TargetIdentity) -> bool:
    return (
        own.kind == wanted.kind
        and own.architecture == wanted.architecture
        and wanted.attributes <= own.attributes
        and wanted.features <= own.features
    )


def serves(device: FarmDevice, target: str) -> bool:
    """Whether code for `target` (TVM's JSON) may run on the device. Raises InvalidInput if it is not JSON."""
    return _runs(parse_target(device.target), parse_target(target))


def fits(device: FarmDevice, requirement: Requirement, classes: Collection[str]) -> bool:
    """Whether the device meets the requirement: serves its target, and is the device or of the class asked for.

    `classes`: those of all devices of the farm. Where none is of the class asked for, one that is alike by its facts
    will do: a device whose class was derived anew must not leave the jobs behind that began on it.
    """
    return (
        requirement.fingerprint in (None, device.fingerprint)
        and _is_of_class(device.device_class, requirement.device_class, classes)
        and _runs(parse_target(device.target), requirement.target)
    )


def _is_of_class(own: str, wanted: str | None, classes: Collection[str]) -> bool:
    if wanted in (None, own):
        return True
    return wanted not in classes and facts_part(wanted) == facts_part(own)


def facts_part(device_class: str) -> str:
    """The part of a class's name that says what the device is, without what calibration adds to it."""
    return device_class.partition("/")[0]
