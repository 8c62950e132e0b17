"""Which known kernels are nearest to a new one."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tunefarm_coordinator.schedules.nearness import distance, nearest

HERE = ((1, 56, 56, 64), (3, 3, 64, 64))


def test_half_is_as_far_as_twice_and_the_same_is_nearest() -> None:
    known = {
        "twice": ((1, 112, 56, 64), (3, 3, 64, 64)),
        "half": ((1, 28, 56, 64), (3, 3, 64, 64)),
        "same": HERE,
        "far": ((1, 7, 7, 512), (3, 3, 512, 512)),
    }
    assert nearest(HERE, known, 3) == ["same", "half", "twice"]


def test_kernels_of_other_ranks_are_no_neighbours() -> None:
    assert nearest(HERE, {"dense": ((1, 64), (64, 10)), "fewer": (HERE[0],), "none": ()}, 3) == []


def test_a_size_of_zero_is_near_to_none_but_itself() -> None:
    assert distance(((0, 4),), ((0, 4),)) == 0
    assert distance(((0, 4),), ((1, 4),)) == math.inf


@given(st.lists(st.lists(st.integers(1, 99), min_size=2, max_size=2), min_size=2, max_size=2), st.integers(1, 9))
def test_distance_is_symmetric(shapes: list[list[int]], factor: int) -> None:
    other = [[size * factor for size in shape] for shape in shapes]
    assert math.isclose(distance(shapes, other), distance(other, shapes))
