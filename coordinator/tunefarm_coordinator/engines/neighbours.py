"""Schedules of one kernel fitted to another of its kind: what a task starts from of which nothing was measured.

Gibson and Cano, "Transfer-Tuning", PACT 2022, reuse schedules across kernels as they are. Here tile sizes follow: a
tile of 16 of 64 becomes one of 16 of 48, or of 14 of 28.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from tvm import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tunefarm_coordinator.engines import module_text, programs, trace_text
from tunefarm_coordinator.engines.candidate import Neighbour
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS


def fitted(neighbour: Neighbour, module: IRModule, target: Target) -> Trace | None:
    """The neighbour's schedule as one of `module`, without its postprocessing. None where it does not fit, and where it
    is of another algorithm: those are ranked by estimates of their own."""
    try:
        if programs.named_in(json.loads(neighbour.trace)[0]) is not None:
            return None
        theirs = trace_text.replay(module_text.load(neighbour.module), neighbour.trace, target)
        ours = Schedule(module, debug_mask="none", error_render_level="fast")

        def decide(instruction: Any, inputs: Sequence[Any], attributes: Sequence[Any], decision: Any) -> Any:
            if decision is None or instruction.kind.name != "SamplePerfectTile":
                return decision
            extent, largest = int(ours.get(inputs[0]).extent), int(attributes[1])
            return refitted(extent, [int(size) for size in decision], largest)

        theirs.trace.apply_to_schedule(ours, True, decide)
        trace: Trace = ours.trace
        return trace
    except TVM_ERRORS:
        return None


def refitted(extent: int, tile: Sequence[int], largest: int) -> list[int]:
    """Sizes that divide `extent`, outermost first, as near to those of `tile` as can be: each from the innermost on the
    nearest divisor (by ratio) of what is left, the innermost one no more than `largest`; the outermost is the rest."""
    sizes: list[int] = []
    left = extent
    for wanted in reversed(tile[1:]):
        choices = _divisors(left, left if sizes else largest)
        size = min(choices, key=lambda size: (abs(math.log(size / wanted)), size))
        sizes.append(size)
        left //= size
    return [left, *reversed(sizes)]


def _divisors(extent: int, limit: int) -> list[int]:
    small = [size for size in range(1, math.isqrt(extent) + 1) if extent % size == 0]
    return [size for size in {*small, *(extent // size for size in small)} if size <= limit]
