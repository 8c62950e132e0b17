"""Rule of the default schedule for padding before a reduction of one operand (pooling): no padded copy is made.

A product's operand is read many times and so is padded once. A pool reads an element only as often as windows overlap,
and whether a pixel lies in the image is asked once for all lanes where they are channels: a branch that is foreseen.
"""

from functools import partial
from typing import Any

import tvm
from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests


def inline_padding(schedule: Any) -> Any:
    """The schedule with the paddings in their readers, where these are pools with lanes that are not padded."""
    for name in nests.leaf_names(schedule):
        if _pads_other_axes(schedule, name) and _is_pooled(schedule, name):
            schedule = nests.attempt(schedule, partial(_inline, name=name)) or schedule
    return schedule


def _inline(schedule: Any, name: str) -> None:
    schedule.compute_inline(schedule.get_sblock(name))


def _pads_other_axes(schedule: Any, name: str) -> bool:
    """Whether the block chooses between an element and a constant, by axes that are not the last."""
    block = schedule.get(schedule.get_sblock(name))
    value = getattr(block.body, "value", None)
    if not isinstance(value, tvm.ir.Call) or value.op.name != "prim.if_then_else":
        return False
    condition, element, filled = value.args
    last = block.iter_vars[-1].var
    used = tvm.tirx.analysis.undefined_vars(condition, [])
    return (
        isinstance(element, tvm.ir.TensorLoad)
        and isinstance(filled, tvm.tirx.FloatImm)
        and not any(last.same_as(each) for each in used)
    )


def _is_pooled(schedule: Any, name: str) -> bool:
    """Whether its one reader reduces it, and nothing else."""
    readers = schedule.get_consumers(schedule.get_sblock(name))
    if len(readers) != 1:
        return False
    reader = schedule.get(readers[0])
    reduces = any(axis.iter_type == IterVar.CommReduce for axis in reader.iter_vars)
    return reduces and len(reader.reads) == 1
