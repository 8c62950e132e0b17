"""How much memory a prepared model takes while it runs: an estimate from its module, before any of it is allocated."""

from math import prod
from typing import Any

import numpy as np
import psutil
from tvm import relax

from tunefarm_coordinator.models.constants import operator_name, static_shape

GIB = 2**30
# Smaller ones are no news.
WORTH_A_NOTE = GIB
# ONNX Runtime and the model of ours each hold their own while it is checked.
HELD_AT_ONCE = 2


def footprint(mod: Any) -> int:
    """Bytes: weights, inputs, and the most that is alive at once of what kernels write.

    Views of other values count nothing; what a kernel needs inside is not known.
    """
    main = mod["main"]
    fixed = sum(_bytes(parameter.ty) for parameter in main.params)
    bindings = [binding for block in _blocks(main) for binding in block.bindings]
    last: dict[Any, int] = {}
    for at, binding in enumerate(bindings):
        for variable in relax.analysis.free_vars(binding.value):
            last[variable] = at
    alive = most = 0
    ends: dict[int, int] = {}
    for at, binding in enumerate(bindings):
        size = _bytes(binding.var.ty) if operator_name(binding.value).startswith("relax.call_") else 0
        alive += size
        most = max(most, alive)
        # What nothing reads any more is the model's output, or no use: either way it stays.
        ends[last.get(binding.var, len(bindings))] = ends.get(last.get(binding.var, len(bindings)), 0) + size
        alive -= ends.pop(at, 0)
    return fixed + most


def footprint_note(size: int) -> str:
    """What a user should know of a large model; empty for others."""
    return f"takes about {size / GIB:.1f} GiB of memory while it runs" if size >= WORTH_A_NOTE else ""


def refusal_here(size: int) -> str:
    """Why a model of `size` bytes can't be checked on this machine; empty where it can."""
    total = int(psutil.virtual_memory().total)
    if HELD_AT_ONCE * size <= total:
        return ""
    return (
        f"takes about {size / GIB:.1f} GiB of memory while it runs, twice that while it is compared with ONNX Runtime "
        f"first, and this machine, where that is done, has {total / GIB:.1f}: give smaller inputs"
    )


def _blocks(function: Any) -> list[Any]:
    return list(function.body.blocks) if isinstance(function.body, relax.SeqExpr) else []


def _bytes(tensor_type: Any) -> int:
    if isinstance(tensor_type, relax.TupleType):
        return sum(_bytes(field) for field in tensor_type.fields)
    shape = static_shape(_Typed(tensor_type)) if isinstance(tensor_type, relax.TensorType) else None
    return 0 if shape is None else prod(shape) * _width(str(tensor_type.dtype))


def _width(dtype: str) -> int:
    try:
        return int(np.dtype(dtype).itemsize)
    except TypeError:  # bfloat16 and its like, of which NumPy alone knows nothing
        return 2


class _Typed:
    def __init__(self, tensor_type: Any) -> None:
        self.ty = tensor_type
