"""When two tensors are the same: one rule and one table of tolerances, for kernels and for whole models."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tolerance:
    """Of `|a - b| <= absolute + relative * max|b|`."""

    relative: float
    absolute: float


# Relative: the order of a sum is free, so a thousand terms may differ in their last three digits. The absolute
# part is for outputs that are zero all over, or probabilities of which all are tiny.
_TOLERANCES = {
    "float64": Tolerance(1e-6, 1e-12),
    "float32": Tolerance(1e-3, 1e-6),
    "float16": Tolerance(2e-2, 1e-3),
    "bfloat16": Tolerance(5e-2, 1e-2),
    # One step of the greatest value.
    "float8_e4m3fn": Tolerance(0.13, 0.0),
    "float8_e4m3fnuz": Tolerance(0.13, 0.0),
    "float8_e5m2": Tolerance(0.26, 0.0),
    "float8_e5m2fnuz": Tolerance(0.26, 0.0),
}
_EXACT = Tolerance(0.0, 0.0)
# Factors of products have float16's mantissa there, sums and results have not.
_TF32 = Tolerance(1e-2, 1e-6)


def tolerance(dtype: str, *, tf32: bool = False) -> Tolerance:
    """For values of `dtype`; integers and booleans have to be equal. `tf32`: products of float32 were rounded to it."""
    if tf32 and dtype == "float32":
        return _TF32
    return _TOLERANCES.get(dtype, _EXACT)


def match(actual: NDArray[Any], expected: NDArray[Any], rtol: float | None = None, atol: float | None = None) -> bool:
    """Whether `actual` is `expected`: same shape, same places that aren't finite, and elsewhere
    `|actual - expected| <= atol + rtol * max|expected|`; the tolerances of the dtype where none are given."""
    default = tolerance(expected.dtype.name)
    rtol = default.relative if rtol is None else rtol
    atol = default.absolute if atol is None else atol
    off, scale = difference(actual, expected)
    return off <= atol + rtol * scale


def relative_error(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """The greatest difference over the greatest expected magnitude; over 1 where all that is expected is zero. Infinite
    where `match` can't hold. Agents report kernels' errors by the same rule."""
    off, scale = difference(actual, expected)
    return off / scale if scale > 0 else off


def difference(actual: NDArray[Any], expected: NDArray[Any]) -> tuple[float, float]:
    """(greatest difference, greatest expected magnitude) of the finite values; the difference is infinite
    where the values that aren't finite differ, or the shapes."""
    if actual.shape != expected.shape:
        return float("inf"), 0.0
    if expected.size == 0:
        return 0.0, 0.0
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf"), 0.0
    if not finite.any():
        return 0.0, 0.0
    return float(np.abs(a[finite] - b[finite]).max()), float(np.abs(b[finite]).max())
