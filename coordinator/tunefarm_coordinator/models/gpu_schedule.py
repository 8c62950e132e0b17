"""The schedule of a GPU kernel that nobody has tuned.

For products and convolutions on NVIDIA's the template's, with the tile that is estimated to be the fastest; for others
TVM's own rules for that (dlight), the first that fits.
"""

import random
from typing import Any

from tvm.s_tir import Schedule
from tvm.s_tir.dlight import gpu
from tvm.target import Target

from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.errors import InvalidInput

# In the order of TVM's default pipeline for GPUs; the last fits whatever has a loop nest.
_RULES = (gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback())


def gpu_schedule(module: Any, target: Any) -> Any:
    """The scheduled kernel; as it is where no rule fits, which no GPU can run."""
    templated = _by_template(module, target) if target.kind.name == "cuda" else None
    if templated is not None:
        return templated
    with target:
        for rule in _RULES:
            scheduled = _applied(rule, module["main"], target)
            if scheduled is not None:
                return scheduled
    return Schedule(module, debug_mask="none", error_render_level="fast")


def _by_template(module: Any, target: Target) -> Any | None:
    try:
        first = TemplateSpace(module, target, random.Random(0)).first
    except InvalidInput:
        return None
    return None if first is None else first.schedule


def _applied(rule: Any, kernel: Any, target: Target) -> Any | None:
    try:
        return rule.apply(kernel, target, False)
    except TVM_ERRORS:
        # A rule that looks as if it fitted may be refused half-way.
        return None
