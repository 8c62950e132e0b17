"""|a - b| <= atol + rtol * max|b|, and what is wrong whatever the tolerance."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tunefarm_agent.matching import matches, max_rel_error


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
    assert max_rel_error(array(1.5, -10.0), array(1.0, -10.0)) == pytest.approx(0.05)
    assert max_rel_error(array(0.25), array(0.0)) == pytest.approx(0.25)
    assert max_rel_error(array(math.nan), array(1.0)) == math.inf


def test_integers_and_booleans() -> None:
    assert matches(np.array([1, 2], np.int64), np.array([1, 2], np.int64), 0.0, 0.0) == (True, 0.0)
    assert not matches(np.array([1, 3], np.int64), np.array([1, 2], np.int64), 1e-3, 0.0)[0]
    assert not matches(np.array([True]), np.array([False]), 1e-3, 1e-6)[0]


def test_nothing_matches_nothing() -> None:
    assert matches(np.zeros((0, 3)), np.zeros((0, 3)), 0.0, 0.0) == (True, 0.0)
