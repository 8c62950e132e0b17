"""Schedule traces as JSON text, the form in which a schedule is stored, sent and replayed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tvm import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target
from tvm.tirx import FloatImm, IntImm

from tunefarm_coordinator.engines import intrinsics, programs


def encode(trace: Trace) -> str:
    """`Trace.as_json()` (postprocessing instructions included) as compact JSON text.

    TVM leaves its own integer objects among annotation values; they are written as numbers.
    """
    return json.dumps(_plain(trace.as_json()), separators=(",", ":"))


def replay(module: IRModule, trace: str, target: Target) -> Schedule:
    """Applies a trace to an unscheduled module, or to the program of it that the trace names; registers the target's
    intrinsics if the trace tensorizes.

    Raises `ValueError` for text that is not a trace, and what TVM raises (`RuntimeError` and its kin) for
    a trace that does not fit the module.
    """
    instructions = json.loads(trace)
    if not (isinstance(instructions, list) and len(instructions) == 2):
        raise ValueError("a trace is a JSON list of two lists: instructions and decisions")
    if '"Tensorize"' in trace:
        intrinsics.load(target)
    name = programs.named_in(instructions[0])
    if name is not None:
        module = programs.program(module, name)
    schedule = Schedule(module, debug_mask="none", error_render_level="fast")
    with target:
        Trace.apply_json_to_schedule(instructions, schedule)
    return schedule


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (IntImm, FloatImm)):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return value
