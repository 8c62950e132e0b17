"""Which schedules search looks at but never proposes: building or measuring them would only cost time."""

from functools import cached_property
from math import inf
from typing import Any

import numpy as np
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tunefarm_coordinator.engines.cost_model import ITERATIONS
from tunefarm_coordinator.engines.features import FeatureExtractor, Features
from tunefarm_coordinator.engines.prior import VECTOR_EXTENT
from tunefarm_coordinator.engines.register_tiles import regularity, vectors_of
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS

# A schedule that goes through so many times as many steps as the kernel is never the fastest. Some compute a whole row
# again for each of its elements: a softmax of 18,710 then takes longer than a measurement may.
_MOST_STEPS = 16
# LLVM takes vectors apart that are wider than a register and no power of two. Where so many steps of them are written
# out, it was seen to take half a minute, in which nothing can be measured; few of them were fast.
_WRITTEN_OUT = 64
_UNROLL = "pragma_auto_unroll_max_step"


class Plausibility:
    """Of the schedules of one kernel."""

    def __init__(self, module: Any, target: str, extractor: FeatureExtractor) -> None:
        """`module`: the kernel as it is written; `target` as JSON."""
        self._module = module
        # A GPU's threads are no vectors, and its compiler is another.
        self._lanes = vectors_of(target).lanes if Target(target).kind.name == "llvm" else None
        self._extractor = extractor

    def may_be_best(self, features: Features, trace: Trace) -> bool:
        """Whether a schedule takes no more steps than it may, and none that LLVM may take too long for."""
        if _steps(features) > _MOST_STEPS * self._steps_of_kernel:
            return False
        return _is_regular(features, self._lanes) or _written_out(trace) < _WRITTEN_OUT

    @cached_property
    def _steps_of_kernel(self) -> float:
        """Of the kernel as it is written; endless where that can't be lowered."""
        try:
            return _steps(self._extractor.extract(Schedule(self._module)))
        except TVM_ERRORS:
            return inf


def _steps(features: Features) -> float:
    """How often all stores of a program are done, in sum."""
    return float((np.exp2(features[:, ITERATIONS].astype(np.float64)) - 1.0).sum())


def _is_regular(features: Features, lanes: int | None) -> bool:
    """Whether the vectors of a program's busiest store are whole registers of so many lanes, or fit one."""
    if lanes is None:
        return True
    width = round(float(np.exp2(features[np.argmax(features[:, ITERATIONS]), VECTOR_EXTENT])) - 1)
    return width <= lanes or regularity(width, lanes) == 1.0


def _written_out(trace: Trace) -> int:
    """Steps that a loop is written out for, at most."""
    asked = [inst for inst in trace.insts if inst.kind.name == "Annotate" and str(inst.attrs[0]) == _UNROLL]
    return max((int(inst.inputs[1]) for inst in asked), default=0)
