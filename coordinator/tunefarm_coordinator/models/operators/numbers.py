"""Operators on single numbers that TVM lacks, or computes for other types than ONNX."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax, te
from tvm.tirx import call_pure_extern, const, reinterpret

from tunefarm_coordinator.models.constants import is_constant, static_shape
from tunefarm_coordinator.models.operators.arguments import dtype_of, is_float, shape_of
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Unsupported


def _each(operator: Operator, compute: Callable[..., Any], name: str, *values: Any) -> Any:
    """`compute` of the elements of equally large tensors."""

    def elements(*tensors: Any) -> Any:
        return te.compute(tensors[0].shape, lambda *at: compute(*(tensor(*at) for tensor in tensors)), name=name)

    elements.__name__ = name
    return operator.builder.emit_te(elements, *(values or operator.inputs), primfunc_name_hint=name)


def _hyperbolic(sign: int) -> Conversion:
    """(e^x -/+ e^-x) / 2."""

    def convert(operator: Operator) -> Any:
        value, dtype = operator.inputs[0], dtype_of(operator)
        half = relax.const(0.5, dtype)
        rising = operator.emit(relax.op.multiply(operator.emit(relax.op.exp(value)), half))
        falling = operator.emit(relax.op.exp(operator.emit(relax.op.negative(value))))
        falling = operator.emit(relax.op.multiply(falling, half))
        return relax.op.add(rising, falling) if sign > 0 else relax.op.subtract(rising, falling)

    return convert


def _power(operator: Operator) -> Any:
    """The result has the base's type; whole powers of whole numbers are exact."""
    base, exponent = operator.inputs
    dtype = dtype_of(operator)
    if is_float(dtype):
        if dtype_of(operator, 1) != dtype:
            exponent = operator.emit(relax.op.astype(exponent, dtype))
        return _float_power(operator, base, exponent)
    if is_float(dtype_of(operator, 1)):
        raised = operator.emit(
            relax.op.power(operator.emit(relax.op.astype(base, "float64")), _as(operator, exponent, "float64"))
        )
        return relax.op.astype(raised, dtype)
    return _whole_power(operator, base, exponent)


def _float_power(operator: Operator, base: Any, exponent: Any) -> Any:
    """Small whole powers are products: exact, and no call into a library."""
    if is_constant(exponent) and exponent.value.numpy().size == 1 and not static_shape(exponent):
        number = float(exponent.value.numpy().reshape(-1)[0])
        if number == 2:
            return relax.op.multiply(base, base)
        if number == 3:
            return relax.op.multiply(operator.emit(relax.op.multiply(base, base)), base)
    return relax.op.power(base, exponent)


def _whole_power(operator: Operator, base: Any, exponent: Any) -> Any:
    """By squaring, over the bits of the exponent; beyond 63 only 0, 1 and -1 have powers that fit."""
    dtype = dtype_of(operator)
    exponent = _as(operator, exponent, dtype)
    shape = np.broadcast_shapes(shape_of(operator), shape_of(operator, 1))
    base, exponent = (operator.emit(relax.op.broadcast_to(it, list(shape))) for it in (base, exponent))

    def raised(number: Any, power: Any) -> Any:
        result, square = const(1, dtype), number
        for bit in range(6):
            odd = ((power >> const(bit, dtype)) & const(1, dtype)) == const(1, dtype)
            result = tvm.tirx.Select(odd, result * square, result)
            square = square * square
        return result

    return _each(operator, raised, "power", base, exponent)


def _as(operator: Operator, value: Any, dtype: str) -> Any:
    return value if str(value.ty.dtype) == dtype else operator.emit(relax.op.astype(value, dtype))


def _remainder(operator: Operator) -> Any:
    """With the divisor's sign, or with `fmod` the dividend's, as C has it."""
    left, right = operator.inputs
    dtype = dtype_of(operator)
    whole = bool(operator.attributes.get("fmod", 0))
    if not is_float(dtype):
        return relax.op.mod(left, right) if whole else relax.op.floor_mod(left, right)
    shape = list(np.broadcast_shapes(shape_of(operator), shape_of(operator, 1)))
    wide = [operator.emit(relax.op.broadcast_to(_as(operator, it, "float64"), shape)) for it in (left, right)]
    rest = operator.emit(_each(operator, lambda a, b: call_pure_extern("float64", "fmod", a, b), "fmod", *wide))
    if not whole:
        zero = relax.const(0, "float64")
        against = operator.emit(relax.op.less(operator.emit(relax.op.multiply(rest, wide[1])), zero))
        rest = operator.emit(relax.op.where(against, operator.emit(relax.op.add(rest, wide[1])), rest))
    return relax.op.astype(rest, dtype)


def _infinite(operator: Operator) -> Any:
    value, dtype = operator.inputs[0], dtype_of(operator)
    found = []
    for name, infinity in (("detect_positive", np.inf), ("detect_negative", -np.inf)):
        if operator.attributes.get(name, 1):
            found.append(operator.emit(relax.op.equal(value, relax.const(infinity, dtype))))
    if not found:
        return relax.op.zeros(relax.ShapeExpr(list(shape_of(operator))), "bool")
    return found[0] if len(found) == 1 else relax.op.logical_or(*found)


def _same_bits(operator: Operator) -> Any:
    """BitCast between types of one size."""
    from onnx import helper

    wanted = str(helper.tensor_dtype_to_np_dtype(operator.attributes["to"]))
    dtype = dtype_of(operator)
    if "bool" in (dtype, wanted) or np.dtype(dtype).itemsize != np.dtype(wanted).itemsize:
        raise Unsupported(f"from {dtype} to {wanted}")
    return operator.inputs[0] if dtype == wanted else _each(operator, lambda it: reinterpret(wanted, it), "bitcast")


def _slopes(operator: Operator) -> Any:
    value, slope = operator.inputs
    zero = relax.const(0, dtype_of(operator))
    scaled = operator.emit(relax.op.multiply(value, _by_channel(operator, value, slope)))
    return relax.op.where(operator.emit(relax.op.less(value, zero)), scaled, value)


def _by_channel(operator: Operator, value: Any, slope: Any) -> Any:
    """Slopes of before opset 7 stand one for each channel, without axes behind."""
    rank, sizes = len(static_shape(value) or ()), static_shape(slope) or ()
    channels = (static_shape(value) or (0, 0))[1] if rank > 1 else 0
    if operator.opset < 7 and len(sizes) == 1 and sizes[0] == channels and rank > 2:
        return operator.emit(relax.op.reshape(slope, [1, -1, *[1] * (rank - 2)]))
    return slope


def _exponential(operator: Operator) -> Any:
    """Elu, Selu and Celu in the input's own type: a straight line above 0, an exponential below."""
    name, dtype = operator.node.op_type, dtype_of(operator)
    alpha = float(operator.attributes.get("alpha", 1.67326319217681884765625 if name == "Selu" else 1.0))
    gamma = float(operator.attributes.get("gamma", 1.05070102214813232421875)) if name == "Selu" else 1.0
    value, zero = operator.inputs[0], relax.const(0, dtype)
    # Above 0 it counts for nothing, and must not overflow.
    below = operator.emit(relax.op.minimum(value, zero))
    inner = operator.emit(relax.op.divide(below, relax.const(alpha, dtype))) if name == "Celu" else below
    grown = operator.emit(relax.op.subtract(operator.emit(relax.op.exp(inner)), relax.const(1, dtype)))
    curve = operator.emit(relax.op.multiply(grown, relax.const(alpha * gamma, dtype)))
    line = operator.emit(relax.op.nn.relu(value))
    if gamma != 1:
        line = operator.emit(relax.op.multiply(line, relax.const(gamma, dtype)))
    return relax.op.add(line, curve)


CONVERSIONS: dict[Key, Conversion] = {
    ("", "BitCast"): _same_bits,
    ("", "Celu"): _exponential,
    ("", "Cosh"): _hyperbolic(1),
    ("", "Elu"): _exponential,
    ("", "IsInf"): _infinite,
    ("", "Mod"): _remainder,
    ("", "Pow"): _power,
    ("", "PRelu"): _slopes,
    ("", "Selu"): _exponential,
    ("", "Sinh"): _hyperbolic(-1),
}
