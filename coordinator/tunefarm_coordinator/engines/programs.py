"""Programs that compute what a kernel does by another algorithm than its module is written in.

A schedule of one begins with a mark on its root block that names the algorithm and its settings, so that its trace says
all that `replay` needs: the program is made of the kernel again, and the rest of the trace is applied to it. The
kernel's workload is that of the direct sum, whatever computes it.
"""

import json
from collections.abc import Sequence
from typing import Any

from tvm import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.winograd import convolution as convolutions
from tunefarm_coordinator.engines.winograd import nest, settings

MARK = "tunefarm.program"
_WINOGRAD = "winograd"


def winograd(module: IRModule, chosen: settings.Settings) -> Schedule:
    """The schedule of a kernel as a Winograd convolution. Raises ValueError where it is none, and what TVM raises."""
    return marked(module, f"{_WINOGRAD} {chosen.text}")


def marked(module: IRModule, name: str) -> Schedule:
    """The program of a kernel that `name` stands for, with its mark. Raises as `winograd`."""
    schedule = Schedule(program(module, name), debug_mask="none", error_render_level="none")
    schedule.annotate(schedule.get_sblock("root"), MARK, name)
    return schedule


def program(module: IRModule, name: str) -> IRModule:
    """The unmarked program. Raises as `winograd`."""
    algorithm, _, text = name.partition(" ")
    found = convolution_of(module) if algorithm == _WINOGRAD else None
    chosen = settings.parsed(text) if algorithm == _WINOGRAD else None
    if found is None or chosen is None or not settings.fit(found, chosen):
        raise ValueError(f"there is no program {name!r} of this kernel")
    return nest.program(_inlined(module), found, chosen)


def convolution_of(module: IRModule) -> convolutions.Convolution | None:
    """The convolution that a kernel is, if `winograd` has a program of it."""
    function = module["main"]
    free = [function.params[int(index)] for index in function.attrs.get("layout_free_buffers") or ()]
    # What most kernels are not is seen here; the rest takes a schedule.
    if not any([int(size) for size in weights.shape[:-2]] == [3, 3] for weights in free):
        return None
    return convolutions.recognised(_inlined(module))


def _inlined(module: IRModule) -> Schedule:
    schedule: Schedule = nests.inline_spatial(Schedule(module, debug_mask="none", error_render_level="none"))
    return schedule


def winograd_settings(trace: Trace) -> settings.Settings | None:
    """What was chosen of the program that a trace is of; None for one of the kernel's own module."""
    for instruction in trace.insts:
        if str(instruction.kind.name) == "Annotate" and str(instruction.attrs[0]) == MARK:
            return settings.parsed(str(instruction.inputs[1]).partition(" ")[2])
    return None


def named_in(instructions: Sequence[Any]) -> str | None:
    """The name of the program that a trace, as JSON, is of; None for one of the kernel's own module."""
    for kind, inputs, attributes, _ in instructions:
        if kind == "Annotate" and attributes[0] == MARK:
            return str(json.loads(inputs[1]))
    return None
