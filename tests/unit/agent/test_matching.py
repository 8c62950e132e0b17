"""|a - b| <= atol + rtol * max|b|, and what is wrong whatever the tolerance."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tunefarm_agent.matching import matches


def array(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("actual", "expected", "good"),
    [
        (array(1.0, 100.05), array(1.0, 100.0), True),
        (array(1.05, 100.0), array(1.0, 100.0), True),
        (array(1.0, 100.2), array(1.0, 100.0), False),
        (array(0.0), array(0.0), True),
        (array(0.01), array(0.0), False),
        (array(math.nan), array(1.0), False),
        (array(math.nan), array(math.nan), True),
        (array(1.0), array(math.nan), False),
        (array(math.inf), array(math.inf), True),
        (array(-math.inf), array(math.inf), False),
        (array(math.inf, 1.0), array(1.0, 1.0), False),
        (array(1.0, 1.0), array(1.0), False),
    ],
)
def test_matches(actual: NDArray[np.float32], expected: NDArray[np.float32], good: bool) -> None:
    assert matches(actual, expected, rtol=1e-3, atol=1e-6)[0] is good


def test_the_error_is_relative_to_the_greatest_magnitude() -> None:
    assert error(array(1.5, -10.0), array(1.0, -10.0)) == pytest.approx(0.05)
    assert error(array(0.25), array(0.0)) == pytest.approx(0.25)
    assert error(array(1.5, math.nan), array(1.0, math.nan)) == pytest.approx(0.5)
    assert error(array(math.nan), array(1.0)) == math.inf
    assert error(array(1.0, 1.0), array(1.0)) == math.inf


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int32])
def test_no_difference_is_too_large_for_its_type(dtype: type[np.generic]) -> None:
    least, most = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype in (np.int8, np.int32) else (-6e4, 6e4)
    assert error(np.array([least], dtype), np.array([most], dtype)) == pytest.approx(2.0, rel=0.01)


def test_float64_is_compared_as_it_is() -> None:
    assert not matches(np.array([1.0 + 1e-9]), np.array([1.0]), rtol=1e-10, atol=0.0)[0]


def error(actual: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    return matches(actual, expected, rtol=1e-3, atol=1e-6)[1]


def test_integers_and_booleans() -> None:
    assert matches(np.array([1, 2], np.int64), np.array([1, 2], np.int64), 0.0, 0.0) == (True, 0.0)
    assert not matches(np.array([1, 3], np.int64), np.array([1, 2], np.int64), 1e-3, 0.0)[0]
    assert not matches(np.array([True]), np.array([False]), 1e-3, 1e-6)[0]


def test_nothing_matches_nothing() -> None:
    assert matches(np.zeros((0, 3)), np.zeros((0, 3)), 0.0, 0.0) == (True, 0.0)
