"""Does a whole model answer as its reference does? NumPy alone: the coordinator judges what a device sent."""

import io
import math
from dataclasses import dataclass

import numpy as np

from tunefarm_coordinator.models.matching import match, relative_error, tolerance


@dataclass(frozen=True)
class OutputComparison:
    """`max_rel_error` as in `matching.relative_error`; None where it is infinite."""

    ok: bool
    max_rel_error: float | None
    message: str


def compare_outputs(actual: bytes, reference: bytes, allow_tf32: bool = False) -> OutputComparison:
    """Compares two .npz archives with the reference's names, "s{i}_out{j}". `allow_tf32`: by TF32's tolerance."""
    worst, faults = 0.0, []
    with np.load(io.BytesIO(actual)) as found, np.load(io.BytesIO(reference)) as expected:
        for name in expected.files:
            if name not in found.files:
                worst = math.inf
                faults.append(f"{name} is missing")
                continue
            error = relative_error(found[name], expected[name])
            worst = max(worst, error)
            bound = tolerance(expected[name].dtype.name, tf32=allow_tf32)
            if not match(found[name], expected[name], bound.relative, bound.absolute):
                faults.append(f"{name} is off by {error:.3g}")
    message = f"the tuned model's outputs differ from the reference: {'; '.join(faults[:3])}" if faults else ""
    return OutputComparison(not faults, worst if math.isfinite(worst) else None, message)
