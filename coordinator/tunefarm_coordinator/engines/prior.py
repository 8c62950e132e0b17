"""A cost estimate that needs no measurement: what ranks candidates while little has been measured.

For each store of the program: iterations, divided by the SIMD lanes that its vectorised loop fills and by
the cores that its parallel loop keeps busy, plus a price for each cache line touched (a roofline in one
line; Williams et al., CACM 2009). It knows nothing of caches, ports or registers, and still puts schedules
that forgo SIMD or cores last, which random sampling draws most of the time.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tvm.target import Target
from tvm.target.codegen import llvm_get_vector_width

from tunefarm_coordinator.engines.cost_model import ITERATIONS

# Columns of MetaSchedule's per-store features; each holds log2(1 + value).
VECTOR_EXTENT = 17
_PARALLEL_EXTENT = 39
_LINES = tuple(57 + 18 * buffer + 5 for buffer in range(5))
# Cost of a touched cache line in vector iterations. Flat between 0.1 and 1 on the convolutions tried.
_LINE_COST = 0.3
_BITS_PER_LANE = 32


class RooflinePrior:
    """Estimates for one CPU target."""

    def __init__(self, lanes: int, cores: int) -> None:
        """`lanes`: 32-bit elements in a SIMD register; `cores`: cores that a kernel may use."""
        self._lanes = lanes
        self._cores = cores

    @classmethod
    def of(cls, target: Target) -> "RooflinePrior | None":
        """The prior of a CPU target; None for other kinds, whose threads are not counted here."""
        if target.kind.name != "llvm":
            return None
        with target:
            bits = int(llvm_get_vector_width(target))
        return cls(max(1, bits // _BITS_PER_LANE), max(1, int(target.attrs.get("num-cores", 1))))

    def score(self, candidates: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Minus log2 of the estimated cost (higher is faster), for feature arrays of shape
        (stores, features); shape (candidates,)."""
        return np.array([-np.log2(1.0 + self._cost(features)) for features in candidates])

    def _cost(self, features: NDArray[np.float32]) -> float:
        values = np.exp2(features.astype(np.float64)) - 1.0
        lanes = np.clip(values[:, VECTOR_EXTENT], 1, self._lanes)
        cores = np.clip(values[:, _PARALLEL_EXTENT], 1, self._cores)
        lines = values[:, _LINES].sum(axis=1)
        return float(((values[:, ITERATIONS] / lanes + _LINE_COST * lines) / cores).sum())
