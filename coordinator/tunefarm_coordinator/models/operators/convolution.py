"""Transposed convolutions in every form that ONNX gives them (ConvTranspose-22)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, topi

from tunefarm_coordinator.models.constants import static_shape
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Unsupported

_LAYOUTS = {1: ("NCW", "IOW"), 2: ("NCHW", "IOHW"), 3: ("NCDHW", "IODHW")}


def _transposed(operator: Operator) -> Any:
    """TVM's own makes the whole; given sizes, and padding that it would refuse, are cut from that or added to it."""
    value, weight = operator.inputs[0], operator.inputs[1]
    shape, kernel = static_shape(value), static_shape(weight)
    if shape is None or kernel is None:
        raise Unsupported("the sizes of its inputs are not known")
    rank = len(shape) - 2
    if rank not in _LAYOUTS:
        raise Unsupported(f"{rank} spatial axes")
    strides = _numbers(operator, "strides", 1, rank)
    dilations = _numbers(operator, "dilations", 1, rank)
    whole = [
        (size - 1) * strides[axis] + (kernel[2 + axis] - 1) * dilations[axis] + 1 for axis, size in enumerate(shape[2:])
    ]
    before, sizes = _cut(operator, shape[2:], whole, strides)
    after = [full - start - size for full, start, size in zip(whole, before, sizes, strict=True)]
    pads = [0] * 2 * rank if min((*before, *after)) < 0 else [*before, *after]
    layout, kernel_layout = _LAYOUTS[rank]
    made = operator.emit(
        getattr(relax.op.nn, f"conv{rank}d_transpose")(
            value,
            weight,
            strides=strides,
            padding=pads,
            dilation=dilations,
            groups=int(operator.attributes.get("group", 1)),
            data_layout=layout,
            kernel_layout=kernel_layout,
        )
    )
    if any(pads) != any((*before, *after)):
        made = _placed(operator, made, before, after)
    bias = operator.input(2)
    if bias is None:
        return made
    return relax.op.add(made, operator.emit(relax.op.reshape(bias, [1, -1, *[1] * rank])))


def _cut(
    operator: Operator, sizes: Sequence[int], whole: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """(how much of the whole lies before the output, the output's sizes), by axis; less than 0: the output begins
    before it."""
    rank = len(sizes)
    extra = _numbers(operator, "output_padding", 0, rank)
    named = str(operator.attributes.get("auto_pad", "NOTSET"))
    wanted = operator.attributes.get("output_shape")
    if wanted is None and named not in ("SAME_UPPER", "SAME_LOWER"):
        pads = [0] * 2 * rank if named == "VALID" else _numbers(operator, "pads", 0, 2 * rank)
        ends = [full + more - pads[rank + axis] for axis, (full, more) in enumerate(zip(whole, extra, strict=True))]
        return pads[:rank], [end - start for start, end in zip(pads[:rank], ends, strict=True)]
    outputs = [int(size) for size in wanted[-rank:]] if wanted else [s * n for s, n in zip(strides, sizes, strict=True)]
    totals = [max(0, full + more - size) for full, more, size in zip(whole, extra, outputs, strict=True)]
    # The odd one goes behind for SAME_UPPER, before for all others.
    return [total // 2 if named == "SAME_UPPER" else total - total // 2 for total in totals], outputs


def _placed(operator: Operator, value: Any, before: Sequence[int], after: Sequence[int]) -> Any:
    rank = len(before)
    if max((*before, *after)) > 0:
        axes = list(range(2, 2 + rank))
        sizes = [(static_shape(value) or ())[axis] for axis in axes]
        starts = [max(0, cut) for cut in before]
        ends = [size - max(0, cut) for size, cut in zip(sizes, after, strict=True)]
        value = operator.emit(relax.op.strided_slice(value, axes, starts, ends))
    if min((*before, *after)) < 0:
        front, back = ([0, 0, *(max(0, -cut) for cut in side)] for side in (before, after))
        value = operator.builder.emit_te(topi.nn.pad, value, front, back, np.float32(0).item())
    return value


def _numbers(operator: Operator, name: str, otherwise: int, count: int) -> list[int]:
    return [int(value) for value in operator.attributes.get(name) or [otherwise] * count]


CONVERSIONS: dict[Key, Conversion] = {("", "ConvTranspose"): _transposed}
