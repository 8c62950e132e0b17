"""Marks the kernels that may round factors of float32 to TF32: those that a GPU then makes on its tensor cores."""

from typing import Any

from tvm.s_tir import Schedule
from tvm.target import Target
from tvm.tirx import PrimFunc

from tunefarm_coordinator.engines.gpu.contraction import TF32, NoContraction, normalised
from tunefarm_coordinator.engines.gpu.limits import Limits, limits_of
from tunefarm_coordinator.engines.gpu.options import on_tensor_cores
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS


def mark_tf32(mod: Any, target: Target) -> Any:
    """The module with a mark on every kernel that has a product of float32 for `target`'s tensor cores.

    The mark is part of a kernel's workload, so that records of both kinds stay apart. Without it none uses TF32.
    """
    limits, marked = limits_of(target), mod.clone()
    for gvar, function in mod.functions.items():
        if isinstance(function, PrimFunc) and _gains(function.with_attr(TF32, 1), limits):
            marked[gvar] = function.with_attr(TF32, 1)
    return marked


def _gains(function: PrimFunc, limits: Limits) -> bool:
    if function.attrs.get("tirx.is_scheduled"):
        return False
    try:
        schedule = Schedule(function)
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    except TVM_ERRORS:
        return False
    return any(_on_tensor_cores(schedule.copy(), schedule.get(block).name_hint, limits) for block in blocks)


def _on_tensor_cores(schedule: Any, block: str, limits: Limits) -> bool:
    try:
        product = normalised(schedule, schedule.get_sblock(block))
    except (NoContraction, *TVM_ERRORS):
        return False
    return product.dtype == "float32" and on_tensor_cores(product, limits)
