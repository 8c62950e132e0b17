"""Quantised values in Relax: to floats and back as ONNX rounds and saturates, and the arithmetic of zero points."""

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tunefarm_coordinator.models.constants import constant, is_constant, static_shape
from tunefarm_coordinator.models.operators.family import Operator, Unsupported


def known(expr: Any) -> NDArray[Any] | None:
    """The value of a constant; None for what is computed."""
    return expr.value.numpy() if is_constant(expr) else None


def is_zero(expr: Any) -> bool:
    """Whether it is left out, or a constant of zeros."""
    if expr is None:
        return True
    value = known(expr)
    return value is not None and not value.any()


def cast(operator: Operator, expr: Any, dtype: str) -> Any:
    """`expr` in `dtype`; a constant stays one."""
    if str(expr.ty.dtype) == dtype:
        return expr
    value = known(expr)
    return operator.emit(relax.op.astype(expr, dtype)) if value is None else constant(value.astype(dtype))


def shaped(operator: Operator, expr: Any, shape: tuple[int, ...]) -> Any:
    """`expr` reshaped; a constant stays one."""
    value = known(expr)
    return operator.emit(relax.op.reshape(expr, shape)) if value is None else constant(value.reshape(shape))


def combined(operator: Operator, combine: Any, left: Any, right: Any) -> Any:
    """An operator on two expressions, done at once where both are constants."""
    one, other = known(left), known(right)
    if one is None or other is None:
        return operator.emit(combine(left, right))
    numpy_function = {
        relax.op.add: np.add,
        relax.op.subtract: np.subtract,
        relax.op.multiply: np.multiply,
        relax.op.divide: np.divide,
    }[combine]
    return constant(numpy_function(one, other))


def sizes(expr: Any) -> tuple[int, ...]:
    """Sizes of a tensor in elements. Raises Unsupported where one is not known."""
    found = static_shape(expr)
    if found is None:
        raise Unsupported("its sizes depend on the input's values")
    return found


def count(expr: Any) -> int:
    return int(np.prod(sizes(expr), dtype=np.int64))


def along(operator: Operator, parameter: Any, data: Any, axis: int, block: int = 0) -> Any:
    """A scale or zero point so shaped that it broadcasts over `data`: one for all, one for each index of `axis`, or
    one for each `block` of indices of it."""
    shape = sizes(data)
    if count(parameter) == 1:
        return shaped(operator, parameter, ())
    if not -len(shape) <= axis < len(shape):
        raise Unsupported(f"axis {axis} of a tensor with {len(shape)} axes")
    axis %= len(shape)
    if block:
        return _blocks(operator, parameter, shape[axis], axis, block)
    if len(sizes(parameter)) > 1:
        return parameter
    return shaped(operator, parameter, tuple(shape[axis] if i == axis else 1 for i in range(len(shape))))


def _blocks(operator: Operator, parameter: Any, extent: int, axis: int, block: int) -> Any:
    value = known(parameter)
    if value is not None:
        return constant(np.take(value.repeat(block, axis), range(extent), axis))
    repeated = operator.emit(relax.op.repeat(parameter, block, axis))
    return operator.emit(relax.op.strided_slice(repeated, [axis], [0], [extent]))


def dequantised(operator: Operator, data: Any, scale: Any, zero: Any, dtype: str | None = None) -> Any:
    """(data - zero) * scale; scale and zero point (None for 0) broadcast. Computed in float32 unless the scale is a
    float64; in `dtype`, or that of the scale."""
    dtype = dtype or str(scale.ty.dtype)
    wide = "float64" if str(scale.ty.dtype) == "float64" else "float32"
    if not is_zero(zero):
        data = operator.emit(relax.op.subtract(cast(operator, data, "int32"), cast(operator, zero, "int32")))
    value = combined(operator, relax.op.multiply, cast(operator, data, wide), cast(operator, scale, wide))
    return cast(operator, value, dtype)


def quantised(operator: Operator, data: Any, scale: Any, zero: Any, dtype: str) -> Any:
    """data / scale, rounded half to even, plus zero, saturated to the range of `dtype`, an integer of 16 bits at most.

    Scale and zero point (None for 0) broadcast; a constant scale of ones costs nothing."""
    value = cast(operator, data, "float32")
    number = known(scale)
    if number is None or np.any(number != 1):
        value = operator.emit(relax.op.divide(value, cast(operator, scale, "float32")))
    value = operator.emit(relax.op.round(value))
    if not is_zero(zero):
        value = operator.emit(relax.op.add(value, cast(operator, zero, "float32")))
    return saturated(operator, value, dtype)


def saturated(operator: Operator, value: Any, dtype: str) -> Any:
    """Whole numbers in float32 as integers of `dtype`, the nearest that it has."""
    low, high = (float(bound.value) for bound in (tvm.tirx.min_value(dtype), tvm.tirx.max_value(dtype)))
    return operator.emit(relax.op.astype(operator.emit(relax.op.clip(value, low, high)), dtype))
