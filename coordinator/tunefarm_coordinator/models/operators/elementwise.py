"""Operators on each element by itself, of one input or several."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tunefarm_coordinator.models.constants import is_constant
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator


def _pairwise(combine: Callable[[Any, Any], Any]) -> Conversion:
    """TVM makes a stack of the inputs first."""

    def convert(operator: Operator) -> Any:
        total = operator.inputs[0]
        for tensor in operator.inputs[1:]:
            total = operator.emit(combine(total, tensor))
        return total

    return convert


def _clip(operator: Operator) -> Any:
    """TVM makes a kernel of its own, opaque to layout and fusion."""
    value = operator.inputs[0]
    low, high = _bound(operator, 1, "min"), _bound(operator, 2, "max")
    if not isinstance(low, relax.Expr) and not isinstance(high, relax.Expr):
        dtype = str(value.ty.dtype)
        least = tvm.tirx.min_value(dtype) if low is None else tvm.tirx.const(low, dtype)
        most = tvm.tirx.max_value(dtype) if high is None else tvm.tirx.const(high, dtype)
        return relax.op.clip(value, least, most)
    for bound, combine in ((low, relax.op.maximum), (high, relax.op.minimum)):
        if bound is not None:
            tensor = bound if isinstance(bound, relax.Expr) else relax.const(bound, value.ty.dtype)
            value = operator.emit(combine(value, tensor))
    return value


def _bound(operator: Operator, index: int, attribute: str) -> Any:
    """A number, an expression where it is not known before the model runs, None where there is no bound."""
    bound: Any = operator.input(index) if index < len(operator.inputs) else operator.attributes.get(attribute)
    if is_constant(bound):
        bound = bound.value.numpy().reshape(-1)[0].item()
    return None if isinstance(bound, float) and np.isinf(bound) else bound


CONVERSIONS: dict[Key, Conversion] = {
    ("", "Clip"): _clip,
    ("", "Sum"): _pairwise(relax.op.add),
    ("", "Max"): _pairwise(relax.op.maximum),
    ("", "Min"): _pairwise(relax.op.minimum),
}
