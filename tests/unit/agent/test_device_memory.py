"""Out of memory on a device: whose fault it is."""

import pytest

from tunefarm_agent.commands import Argument, Kernel, bytes_needed, run_kernel, time_model
from tunefarm_agent.device_memory import Room, is_exhausted
from tunefarm_agent.steady import Turn

GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "needed", "taken"),
    [
        (79, 1, False),  # an intermediate result was too large, or its arguments were many
        (79, 81, False),  # more than there is, whoever holds what
        (10, 81, False),
        (10, 20, True),
        (40, 1, True),  # what else it takes is not known: others may have had the room for it
        (65, 1, False),  # no more than CUDA's own
    ],
)
def test_memory_is_taken_where_others_hold_what_was_missing(free: int, needed: int, taken: bool) -> None:
    assert Room(80 * GIB, free * GIB).is_taken(needed * GIB) is taken


@pytest.mark.parametrize(
    ("message", "exhausted"),
    [
        ("CUDA Runtime Error: cudaErrorMemoryAllocation (2): out of memory", True),
        ("killed by SIGABRT: what():  CUDA: Out of memory", True),
        ("CUDA: an illegal memory access was encountered", False),
    ],
)
def test_what_says_that_memory_is_exhausted(message: str, exhausted: bool) -> None:
    assert is_exhausted(message) is exhausted


def test_a_kernel_needs_its_arguments() -> None:
    arguments = (Argument((3, 4), "float32"), Argument((5,), "float16"), Argument((7,), "bool"), Argument((), "int64"))
    assert bytes_needed(run_kernel(Kernel("kernel.so", arguments), (), None)) == 48 + 10 + 7 + 8
    assert bytes_needed(time_model(Turn(3))) == 0
