"""Tile sizes of a kernel alike, fitted to another extent. Whole schedules: tests/integration/test_engines.py."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tunefarm_coordinator.engines.neighbours import refitted


def test_sizes_that_still_divide_stay() -> None:
    assert refitted(48, [14, 1, 4], 64) == [12, 1, 4]
    assert refitted(56, [7, 2, 4], 64) == [7, 2, 4]


def test_the_nearest_divisor_takes_the_place_of_one_that_does_not() -> None:
    assert refitted(27, [14, 4], 64) == [9, 3]
    assert refitted(1000, [16, 64], 64) == [20, 50]


def test_the_innermost_is_never_larger_than_the_space_allows() -> None:
    assert refitted(67, [1, 64], 64) == [67, 1]


@given(
    st.integers(1, 5000),
    st.lists(st.integers(1, 512), min_size=2, max_size=5),
    st.integers(1, 64),
)
def test_sizes_always_make_up_the_extent(extent: int, tile: list[int], largest: int) -> None:
    sizes = refitted(extent, tile, largest)
    assert math.prod(sizes) == extent
    assert len(sizes) == len(tile)
    assert sizes[-1] <= largest
