"""Does an output match the expected one: |a - b| <= atol + rtol * max|b|."""

import math

import numpy as np
from numpy.typing import NDArray


def matches(actual: NDArray[np.generic], expected: NDArray[np.generic], rtol: float, atol: float) -> tuple[bool, float]:
    """(does it match, greatest relative error).

    The error is the greatest |a - b| over max|b|; over 1 where the expected output is all zero. It is infinite where
    shapes differ or one side is not finite where the other is: NaN is wrong, unless the expected output has NaN there
    too.
    """
    difference, scale = _difference(actual, expected)
    relative = difference / scale if scale > 0 else difference
    return difference <= atol + rtol * scale, relative


def _difference(actual: NDArray[np.generic], expected: NDArray[np.generic]) -> tuple[float, float]:
    """(max|a - b|, max|b|)."""
    if actual.shape != expected.shape:
        return math.inf, 0.0
    if expected.size == 0:
        return 0.0, 0.0
    # A device waits meanwhile: float32, exact enough for what is float32 itself, takes a fraction of float64's time.
    dtype = np.result_type(actual, expected, np.float32)
    a, b = actual.astype(dtype, copy=False), expected.astype(dtype, copy=False)
    scale = _greatest_magnitude(b)
    if not math.isfinite(scale):
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return math.inf, 0.0
        return _difference(a[finite], b[finite])
    with np.errstate(invalid="ignore", over="ignore"):
        difference = _greatest_magnitude(a - b)
    return (difference if math.isfinite(difference) else math.inf), scale


def _greatest_magnitude(values: NDArray[np.generic]) -> float:
    """NaN if there is one."""
    return max(float(values.max()), -float(values.min()))
