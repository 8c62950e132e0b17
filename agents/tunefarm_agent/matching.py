"""Does an output match the expected one: |a - b| <= atol + rtol * max|b|."""

import math

import numpy as np
from numpy.typing import NDArray


def max_rel_error(actual: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """Greatest |a - b| over max|b|; over 1 where the expected output is all zero.

    Infinity where shapes differ or one side is not finite where the other is: NaN is wrong, unless the
    reference has NaN there too.
    """
    difference, scale = _difference(actual, expected)
    return difference / scale if scale > 0 else difference


def matches(actual: NDArray[np.generic], expected: NDArray[np.generic], rtol: float, atol: float) -> tuple[bool, float]:
    """(does it match, greatest relative error as `max_rel_error` has it)."""
    difference, scale = _difference(actual, expected)
    relative = difference / scale if scale > 0 else difference
    return difference <= atol + rtol * scale, relative


def _difference(actual: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[float, float]:
    """(max|a - b|, max|b|)."""
    if actual.shape != expected.shape:
        return math.inf, 0.0
    a = np.asarray(actual, dtype=np.float64)
    b = np.asarray(expected, dtype=np.float64)
    finite = np.isfinite(b)
    if not finite.all():
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return math.inf, 0.0
        a, b = a[finite], b[finite]
    if b.size == 0:
        return 0.0, 0.0
    scale = float(np.abs(b).max())
    if not np.isfinite(a).all():
        return math.inf, scale
    return float(np.abs(a - b).max()), scale
