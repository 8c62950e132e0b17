"""Products and convolutions of integers of 8 bits, added up in int32.

Zero points are taken out by arithmetic: sum (a - za)(b - zb) = sum ab - za sum b - zb sum a + K za zb. Where the
weights are constants, so is what they bring in, and one sum for each filter is left, which the kernel adds at its end.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tunefarm_coordinator.models.constants import constant
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Unsupported
from tunefarm_coordinator.models.operators.quantisation import (
    along,
    cast,
    combined,
    count,
    is_zero,
    known,
    quantised,
    shaped,
    sizes,
)

# int32 in the widest register there is, and the columns of which so many zeros are a small part.
_REGISTER = 16
_WORTH_PADDING = 128
_CONVOLUTIONS: dict[int, Callable[..., Any]] = {
    1: relax.op.nn.conv1d,
    2: relax.op.nn.conv2d,
    3: relax.op.nn.conv3d,
}


def _integer_matmul(operator: Operator) -> Any:
    return product(operator, *(operator.input(index) for index in range(4)))


def _quantised_matmul(operator: Operator) -> Any:
    left, left_scale, left_zero, right, right_scale, right_zero, scale, zero = operator.inputs
    total = product(operator, left, right, left_zero, right_zero)
    if count(left_scale) > 1 and len(sizes(left_scale)) == 1:
        left_scale = shaped(operator, left_scale, (count(left_scale), 1))
    return requantised(operator, total, (left_scale, right_scale, scale), zero)


def _integer_convolution(operator: Operator) -> Any:
    return convolution(operator, *(operator.input(index) for index in range(4)))


def _quantised_convolution(operator: Operator) -> Any:
    data, data_scale, data_zero, weight, weight_scale, weight_zero, scale, zero = operator.inputs[:8]
    total = convolution(operator, data, weight, data_zero, weight_zero)
    bias = operator.input(8)
    if bias is not None:
        total = operator.emit(relax.op.add(total, along(operator, bias, total, 1)))
    weight_scale = along(operator, weight_scale, total, 1)
    return requantised(operator, total, (data_scale, weight_scale, scale), zero)


def requantised(operator: Operator, total: Any, scales: tuple[Any, Any, Any], zero: Any) -> Any:
    """total * (first scale * second / third), rounded and saturated to the type of the zero point."""
    first, second, third = (shaped(operator, each, ()) if count(each) == 1 else each for each in scales)
    factor = combined(operator, relax.op.multiply, first, second)
    factor = combined(operator, relax.op.divide, factor, third)
    value = operator.emit(relax.op.multiply(cast(operator, total, "float32"), cast(operator, factor, "float32")))
    one = constant(np.float32(1))
    return quantised(operator, value, one, shaped(operator, zero, ()), str(zero.ty.dtype))


def product(operator: Operator, left: Any, right: Any, left_zero: Any, right_zero: Any) -> Any:
    """The matrix product of integers of 8 bits, in int32. A zero point is None, one number, or one for each row of
    `left` or column of `right`."""
    right, right_zero = _centred(right, right_zero, -1)
    total = _multiplied(operator, left, right)
    left_zero, right_zero = _by_line(operator, left_zero, -1), _by_line(operator, right_zero, -2)
    if left_zero is not None:
        columns = _sums(operator, right, -2 if len(sizes(right)) > 1 else -1)
        if right_zero is not None:
            inner = constant(np.int32(sizes(left)[-1]))
            columns = combined(
                operator, relax.op.subtract, columns, combined(operator, relax.op.multiply, right_zero, inner)
            )
        total = _less(operator, total, left_zero, columns)
    if right_zero is not None:
        total = _less(operator, total, right_zero, _sums(operator, left, -1))
    return total


def _multiplied(operator: Operator, left: Any, right: Any) -> Any:
    """The product alone, in int32. Constant weights get columns of zeros up to a whole number of registers, which are
    cut off again: instructions for 8 bits have no tail."""
    value = known(right)
    columns = sizes(right)[-1]
    short = -columns % _REGISTER
    if value is None or value.ndim != 2 or not short or columns < _WORTH_PADDING:
        return operator.emit(relax.op.matmul(left, right, out_dtype="int32"))
    wide = constant(np.pad(value, ((0, 0), (0, short))))
    total = operator.emit(relax.op.matmul(left, wide, out_dtype="int32"))
    return operator.emit(relax.op.strided_slice(total, [-1], [0], [columns], assume_inbound=True))


def convolution(operator: Operator, data: Any, weight: Any, data_zero: Any, weight_zero: Any) -> Any:
    """The convolution of integers of 8 bits, in int32, padded with the data's zero point. Zero points are None or one
    number; the weight's may be one for each filter."""
    rank = len(sizes(data)) - 2
    if rank not in _CONVOLUTIONS:
        raise Unsupported(f"a convolution over {rank} axes")
    weight, weight_zero = _centred(weight, weight_zero, 0)
    pads = _pads(operator, sizes(data)[2:], sizes(weight)[2:])
    groups = operator.attributes.get("group", 1)
    if weight_zero is not None and groups > 1:
        weight, weight_zero = _widened(operator, weight, _first(operator, weight_zero, rank + 1)), None
    if any(pads):
        widths = [(0, 0), (0, 0), *((pads[axis], pads[rank + axis]) for axis in range(rank))]
        data = _padded(operator, data, data_zero, widths)
    total = _convolved(operator, data, weight, rank, groups)
    if weight_zero is not None:
        zeros = cast(operator, _first(operator, weight_zero, rank + 1), "int32")
        of_filters = shaped(operator, zeros, (1, count(zeros), *[1] * rank))
        total = _less(operator, total, of_filters, _window_sums(operator, data, sizes(weight)[2:]))
        weight = combined(operator, relax.op.subtract, cast(operator, weight, "int32"), zeros)
    if is_zero(data_zero):
        return total
    sums = _sums(operator, weight, tuple(range(1, rank + 2)))
    filters = shaped(operator, sums, (1, count(sums), *[1] * rank))
    return _less(operator, total, cast(operator, shaped(operator, data_zero, ()), "int32"), filters)


def _padded(operator: Operator, data: Any, zero: Any, widths: list[tuple[int, int]]) -> Any:
    """`data` with its zero point (None: 0) around it, in its own 8 bits: instructions for them want nothing wider."""
    number = np.zeros((), np.int32) if zero is None else known(zero)
    value = 0 if number is None else int(number.reshape(-1)[0])
    padded = operator.emit(relax.op.nn.pad(data, [width for both in widths for width in both], pad_value=value))
    if number is not None:
        return padded
    # A number that comes with the data: zeros are padded, and it is added outside.
    inside = np.zeros([1, 1, *sizes(data)[2:]], str(data.ty.dtype))
    outside = constant(np.pad(inside, widths, constant_values=1))
    return operator.emit(
        relax.op.add(padded, combined(operator, relax.op.multiply, outside, shaped(operator, zero, ())))
    )


def _convolved(operator: Operator, data: Any, weight: Any, rank: int, groups: int) -> Any:
    """In int32, without padding, with the node's strides and dilations."""
    attributes = operator.attributes
    return operator.emit(
        _CONVOLUTIONS[rank](
            data,
            weight,
            strides=attributes.get("strides", [1] * rank),
            dilation=attributes.get("dilations", [1] * rank),
            groups=groups,
            out_dtype="int32",
        )
    )


def _window_sums(operator: Operator, data: Any, window: tuple[int, ...]) -> Any:
    """The sum of what each window of the convolution sees, all channels together: one channel in int32."""
    return _convolved(operator, _sums(operator, data, 1), constant(np.ones((1, 1, *window), np.int32)), len(window), 1)


def _centred(weight: Any, zero: Any, axis: int) -> tuple[Any, Any]:
    """(weight, zero point), constants as int8, which instructions want: the zero point is None where it is zero or
    could be taken off them, and else goes down with them."""
    value = known(weight)
    number = np.zeros((), np.int32) if zero is None else known(zero)
    if value is None or number is None or (value.dtype == np.int8 and not number.any()):
        return weight, None if is_zero(zero) else zero
    number = number.astype(np.int32)
    lines = number.reshape(()) if number.size == 1 else number
    if lines.ndim == 1:
        lines = lines.reshape([number.size if i == axis % value.ndim else 1 for i in range(value.ndim)])
    less = value.astype(np.int32) - lines
    if less.size and less.min() >= -128 and less.max() <= 127:
        return constant(less.astype(np.int8)), None
    if value.dtype != np.uint8:
        return weight, zero
    return constant((value.astype(np.int32) - 128).astype(np.int8)), constant(number - 128)


def _by_line(operator: Operator, zero: Any, axis: int) -> Any:
    """A zero point of a product in int32, so shaped that it broadcasts over it; None for 0."""
    if is_zero(zero):
        return None
    zero = cast(operator, zero, "int32")
    if count(zero) == 1:
        return shaped(operator, zero, ())
    if len(sizes(zero)) == 1:
        return shaped(operator, zero, (count(zero), 1) if axis == -1 else (1, count(zero)))
    return zero


def _sums(operator: Operator, data: Any, axes: int | tuple[int, ...]) -> Any:
    """Over `axes`, which stay with one element each, in int32."""
    value: NDArray[Any] | None = known(data)
    if value is not None:
        return constant(value.astype(np.int32).sum(axes, dtype=np.int32, keepdims=True))
    wide = cast(operator, data, "int32")
    return operator.emit(relax.op.sum(wide, [axes] if isinstance(axes, int) else list(axes), keepdims=True))


def _less(operator: Operator, total: Any, left: Any, right: Any) -> Any:
    return operator.emit(relax.op.subtract(total, combined(operator, relax.op.multiply, left, right)))


def _first(operator: Operator, zero: Any, rest: int) -> Any:
    return shaped(operator, zero, (count(zero), *[1] * rest))


def _widened(operator: Operator, data: Any, zero: Any) -> Any:
    """data - zero in 16 bits, which hold every difference of two integers of 8 bits."""
    return combined(operator, relax.op.subtract, cast(operator, data, "int16"), cast(operator, zero, "int16"))


def _pads(operator: Operator, extents: tuple[int, ...], window: tuple[int, ...]) -> list[int]:
    """All begins, then all ends."""
    attributes = operator.attributes
    kind = attributes.get("auto_pad", "NOTSET")
    rank = len(window)
    if kind == "VALID":
        return [0] * 2 * rank
    if kind == "NOTSET":
        return [int(pad) for pad in attributes.get("pads", [0] * 2 * rank)]
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    totals = [
        max((-(-extent // stride) - 1) * stride + (size - 1) * dilation + 1 - extent, 0)
        for extent, size, stride, dilation in zip(extents, window, strides, dilations, strict=True)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*less, *more] if kind == "SAME_UPPER" else [*more, *less]


CONVERSIONS: dict[Key, Conversion] = {
    ("", "MatMulInteger"): _integer_matmul,
    ("", "QLinearMatMul"): _quantised_matmul,
    ("", "ConvInteger"): _integer_convolution,
    ("", "QLinearConv"): _quantised_convolution,
}
