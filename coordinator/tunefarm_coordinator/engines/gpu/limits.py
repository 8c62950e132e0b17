"""What a CUDA device of some architecture has, as far as schedules ask (CUDA C++ programming guide, technical
specifications by compute capability; multiprocessors: of the largest card of each, only to tell schedules apart)."""

import re
from dataclasses import dataclass

from tvm.target import Target

_KIB = 1 << 10
_ARCH = re.compile(r"sm_(\d+)(\d)[af]?")
# By compute capability: bytes of shared memory that a block may ask for, and of a multiprocessor, in KiB; processors.
_KNOWN = {
    (7, 0): (96, 96, 80),
    (7, 5): (64, 64, 68),
    (8, 0): (163, 164, 108),
    (8, 6): (99, 100, 84),
    (8, 7): (163, 164, 16),
    (8, 9): (99, 100, 128),
    (9, 0): (227, 228, 132),
    (10, 0): (227, 228, 148),
    (12, 0): (99, 100, 170),
}
_OTHER = (48, 64, 80)


@dataclass(frozen=True)
class Limits:
    """Of one architecture.

    Attributes:
        shared_bytes: that a block may have; `processor_shared_bytes`: that all blocks of a multiprocessor share.
        processors: multiprocessors.
        copies_ahead: whether data gets to shared memory while threads go on (cp.async).
        tensor_cores: whether products of float16 run on tensor cores; `more_tensor_cores`: those of bfloat16 and TF32.
    """

    shared_bytes: int
    processor_shared_bytes: int
    processors: int
    copies_ahead: bool
    tensor_cores: bool
    more_tensor_cores: bool


def limits_of(target: Target) -> Limits:
    """The limits of a CUDA target; of an unknown architecture what every one has."""
    found = _ARCH.fullmatch(str(target.attrs.get("arch", "")))
    capability = (int(found[1]), int(found[2])) if found else (0, 0)
    block, processor, processors = _KNOWN.get(capability, _OTHER)
    later = capability >= (8, 0)
    return Limits(block * _KIB, processor * _KIB, processors, later, capability >= (7, 0), later)
