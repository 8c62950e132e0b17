"""Does a whole model answer as its reference does? NumPy alone: the coordinator judges what a device sent."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunefarm_coordinator.models.matching import difference, relative_error, tolerance
from tunefarm_proto.arrays import Archive

# Of an output that comes in steps, so many elements may be one step off: those whose value lies between two steps.
TIES_SHARE = 0.01
# What a sum in another order makes of a step is a little more or less than it.
_STEP_MARGIN = 1.01


@dataclass(frozen=True)
class Bound:
    """How far an output may be from its reference: `|a - b| <= absolute + relative * max|b|`.

    `step`: of an output that comes in steps (a quantised model's), the size of one; at most `TIES_SHARE` of its
    elements may be as far off as that. 0: none. `widened`: by what was measured of the model.
    """

    relative: float
    absolute: float
    step: float = 0.0
    widened: bool = False


@dataclass(frozen=True)
class OutputComparison:
    """`max_rel_error` as in `matching.relative_error`; None where it is infinite."""

    ok: bool
    max_rel_error: float | None
    message: str


def bound_of(dtype: str, *, tf32: bool = False) -> Bound:
    """For an output of which nothing else is known."""
    plain = tolerance(dtype, tf32=tf32)
    return Bound(plain.relative, plain.absolute)


def compare_outputs(
    actual: bytes,
    reference: bytes,
    bounds: Sequence[Bound] = (),
    *,
    allow_tf32: bool = False,
    dispensable: bool = False,
) -> OutputComparison:
    """Compares two .npz archives with the reference's names, "s{i}_out{j}". An empty reference is matched if it is
    `dispensable`, and by nothing else.

    `bounds`: of output j, where more is known of the model than its outputs' types. `allow_tf32`: products of float32
    were rounded to TF32.
    """
    with np.load(io.BytesIO(actual)) as given, np.load(io.BytesIO(reference)) as wanted:
        found, expected = Archive(given), Archive(wanted)
        if not expected:
            return OutputComparison(dispensable, None, "" if dispensable else "there is nothing to compare with")
        return compare_arrays(found, expected, bounds, allow_tf32=allow_tf32)


def compare_arrays(
    actual: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    bounds: Sequence[Bound] = (),
    *,
    allow_tf32: bool = False,
) -> OutputComparison:
    """As `compare_outputs`, of arrays by name."""
    worst, faults = 0.0, []
    for name, expected in reference.items():
        found = actual.get(name)
        if found is None:
            worst = math.inf
            faults.append(f"{name} is missing")
            continue
        error = relative_error(found, expected)
        worst = max(worst, error)
        fault = fault_of(found, expected, _bound(name, expected, bounds, allow_tf32))
        if fault:
            faults.append(f"{name} {fault}")
    message = f"the tuned model's outputs differ from the reference: {'; '.join(faults[:3])}" if faults else ""
    return OutputComparison(not faults, worst if math.isfinite(worst) else None, message)


def fault_of(actual: NDArray[Any], expected: NDArray[Any], bound: Bound) -> str:
    """What is wrong with an output, as in "is off by 0.2"; empty where it is right."""
    if actual.dtype != expected.dtype:
        return f"is {actual.dtype.name} instead of {expected.dtype.name}"
    if actual.shape != expected.shape:
        return f"has {_sizes(actual)} elements instead of {_sizes(expected)}"
    off, scale = difference(actual, expected)
    if off <= bound.absolute + bound.relative * scale or _ties(actual, expected, bound, scale):
        return ""
    if not math.isfinite(off):
        return "has infinities or NaN in other places"
    return f"is off by {off:.3g}, where the greatest value is {scale:.3g}"


def _ties(actual: NDArray[Any], expected: NDArray[Any], bound: Bound, scale: float) -> bool:
    """Whether all that is wrong is that some elements are one step off."""
    if not bound.step or not np.isfinite(expected).all():
        return False
    off = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    near = bound.absolute + bound.relative * scale
    count = int((off > near).sum())
    return count <= max(1, TIES_SHARE * off.size) and bool((off <= near + _STEP_MARGIN * bound.step).all())


def _bound(name: str, expected: NDArray[Any], bounds: Sequence[Bound], allow_tf32: bool) -> Bound:
    plain = bound_of(expected.dtype.name, tf32=allow_tf32)
    position = int(name.rpartition("_out")[2] or 0) if "_out" in name else 0
    if position >= len(bounds):
        return plain
    known = bounds[position]
    return Bound(max(plain.relative, known.relative), max(plain.absolute, known.absolute), known.step)


def _sizes(array: NDArray[Any]) -> str:
    return "x".join(map(str, array.shape)) or "scalar"
