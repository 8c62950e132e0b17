"""Pooling: what TVM's own pools do not have is made of windows, each a row of its input's places."""

from math import prod
from typing import Any

import numpy as np
from tvm import relax, topi
from tvm.tirx import min_value

from tunefarm_coordinator.models.constants import constant, static_shape
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Unsupported
from tunefarm_coordinator.models.operators.windows import Window, windows_of


def _max_pool(operator: Operator) -> Any:
    windows = _windows(operator)
    value = operator.inputs[0]
    wants_places = len(operator.node.output) > 1 and bool(operator.node.output[1])
    if not wants_places and str(value.ty.dtype).startswith("float"):
        return _stock(operator, windows, relax.op.nn, "max_pool")
    lowest = min_value(str(value.ty.dtype)).value
    rows = _rows(operator, value, windows, float("-inf") if str(value.ty.dtype).startswith("float") else lowest)
    most = relax.op.max(rows, axis=-1)
    if not wants_places:
        return most
    return [operator.emit(most), _places(operator, rows, windows)]


def _average_pool(operator: Operator) -> Any:
    """Divides by what of a window lies in the input, or in it and its padding; what `ceil_mode` adds never counts."""
    windows = _windows(operator)
    counts_padding = bool(operator.attributes.get("count_include_pad", 0))
    value, dtype = operator.inputs[0], str(operator.inputs[0].ty.dtype)
    if not counts_padding or _within(windows, operator):
        return _stock(operator, windows, relax.op.nn, "avg_pool")
    rows = _rows(operator, value, windows, 0)
    counts = _counts(operator, windows, counts_padding)
    return relax.op.divide(operator.emit(relax.op.sum(rows, axis=-1)), constant(counts.astype(dtype)))


def _lp_pool(operator: Operator) -> Any:
    windows = _windows(operator)
    power = float(operator.attributes.get("p", 2))
    value = operator.emit(relax.op.abs(operator.inputs[0]))
    exponent = relax.const(power, str(value.ty.dtype))
    raised = operator.emit(relax.op.power(value, exponent))
    rows = _rows(operator, raised, windows, 0)
    total = operator.emit(relax.op.sum(rows, axis=-1))
    return relax.op.power(total, relax.const(1 / power, str(value.ty.dtype)))


def _max_unpool(operator: Operator) -> Any:
    """Every value back at its place in a tensor of zeros."""
    value, places = operator.inputs[0], operator.inputs[1]
    shape = _unpooled_shape(operator)
    natural = _natural_shape(operator)
    flat = operator.emit(relax.op.zeros(relax.ShapeExpr([prod(natural)]), str(value.ty.dtype)))
    index = operator.emit(relax.op.reshape(places, [-1]))
    updates = operator.emit(relax.op.reshape(value, [-1]))
    filled = operator.emit(relax.op.scatter_elements(flat, index, updates, axis=0))
    if prod(shape) == prod(natural):
        return relax.op.reshape(filled, list(shape))
    # The places count in the sizes that the pool had, so a larger output is padded behind.
    smaller = operator.emit(relax.op.reshape(filled, list(natural)))
    after = [wide - narrow for wide, narrow in zip(shape, natural, strict=True)]
    if min(after) < 0:
        raise Unsupported("output_shape is smaller than what was pooled")
    return operator.builder.emit_te(topi.nn.pad, smaller, [0] * len(shape), after, 0.0)


def _natural_shape(operator: Operator) -> tuple[int, ...]:
    shape = static_shape(operator.inputs[0]) or ()
    kernel = operator.attributes["kernel_shape"]
    rank = len(kernel)
    strides = operator.attributes.get("strides") or [1] * rank
    pads = operator.attributes.get("pads") or [0] * 2 * rank
    spatial = [
        (size - 1) * strides[axis] + kernel[axis] - pads[axis] - pads[rank + axis]
        for axis, size in enumerate(shape[2:])
    ]
    return (*shape[:2], *spatial)


def _unpooled_shape(operator: Operator) -> tuple[int, ...]:
    given = operator.input(2)
    if given is None:
        return _natural_shape(operator)
    if not hasattr(given, "value"):
        raise Unsupported(f"input {operator.node.input[2]!r} must be a constant (--freeze makes it one)")
    return tuple(int(size) for size in given.value.numpy())


# Windows


def _windows(operator: Operator) -> list[Window]:
    shape = static_shape(operator.inputs[0])
    if shape is None:
        raise Unsupported("the sizes of its input are not known")
    return windows_of(shape[2:], operator.attributes["kernel_shape"], dict(operator.attributes))


def _outputs(operator: Operator, windows: list[Window]) -> list[int]:
    return [window.outputs(bool(operator.attributes.get("ceil_mode", 0))) for window in windows]


def _stock(operator: Operator, windows: list[Window], space: Any, name: str) -> Any:
    """TVM's pool over as many windows as ONNX has: one that reaches beyond asks for padding behind."""
    outputs = _outputs(operator, windows)
    reach = [
        (count - 1) * it.stride + it.extent - it.size - it.before for count, it in zip(outputs, windows, strict=True)
    ]
    pads = [*(it.before for it in windows), *(max(0, needed) for needed in reach)]
    pool = getattr(space, f"{name}{len(windows)}d", None)
    if pool is None:
        raise Unsupported(f"pooling over {len(windows)} axes")
    return pool(
        operator.inputs[0],
        [it.kernel for it in windows],
        [it.stride for it in windows],
        pads,
        [it.dilation for it in windows],
        False,
        bool(operator.attributes.get("count_include_pad", 0)),
    )


def _within(windows: list[Window], operator: Operator) -> bool:
    """Whether every window lies in the input and its padding."""
    return all(
        (count - 1) * it.stride + it.extent <= it.size + it.before + it.after
        for count, it in zip(_outputs(operator, windows), windows, strict=True)
    )


def _rows(operator: Operator, value: Any, windows: list[Window], filled: float) -> Any:
    """(batch, channels, outputs..., elements of a window): every window's elements, `filled` outside of the input."""
    outputs = _outputs(operator, windows)
    rank = len(windows)
    needed = [(count - 1) * it.stride + it.extent for count, it in zip(outputs, windows, strict=True)]
    after = [max(0, many - it.size - it.before) for many, it in zip(needed, windows, strict=True)]
    before = [it.before for it in windows]
    if any(before) or any(after):
        value = operator.builder.emit_te(topi.nn.pad, value, [0, 0, *before], [0, 0, *after], filled)
    for axis, (count, it) in enumerate(zip(outputs, windows, strict=True)):
        places = np.arange(count)[:, None] * it.stride + np.arange(it.kernel)[None, :] * it.dilation
        value = operator.emit(relax.op.take(value, constant(places.astype(np.int64)), axis=2 + 2 * axis))
    order = [0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2)]
    moved = operator.emit(relax.op.permute_dims(value, order))
    shape = static_shape(moved) or ()
    return operator.emit(relax.op.reshape(moved, [*shape[: 2 + rank], prod(shape[2 + rank :])]))


def _counts(operator: Operator, windows: list[Window], counts_padding: bool) -> Any:
    """By how many elements each window is divided."""
    total = np.ones([1, 1, *[1] * len(windows)])
    for axis, (count, it) in enumerate(zip(_outputs(operator, windows), windows, strict=True)):
        places = np.arange(count)[:, None] * it.stride + np.arange(it.kernel)[None, :] * it.dilation - it.before
        low, high = (-it.before, it.size + it.after) if counts_padding else (0, it.size)
        inside = ((places >= low) & (places < high)).sum(axis=1)
        total = total * inside.reshape([-1 if at == 2 + axis else 1 for at in range(total.ndim)])
    return total


def _places(operator: Operator, rows: Any, windows: list[Window]) -> Any:
    """Where each maximum stands in the whole input, counted by rows, or by columns if the node says so."""
    shape = static_shape(operator.inputs[0]) or ()
    rank = len(windows)
    chosen = operator.emit(relax.op.astype(relax.op.argmax(rows, axis=-1), "int64"))
    by_columns = bool(operator.attributes.get("storage_order", 0))
    steps = [prod(shape[2 : 2 + axis]) if by_columns else prod(shape[3 + axis :]) for axis in range(rank)]
    # A window's element to its distance from the window's first one, a table; then where the windows begin.
    within = np.zeros([it.kernel for it in windows], np.int64)
    begins = np.zeros([1, 1, *_outputs(operator, windows)], np.int64)
    for axis, it in enumerate(windows):
        along = [-1 if at == axis else 1 for at in range(rank)]
        within = within + steps[axis] * it.dilation * np.arange(it.kernel).reshape(along)
        starts = np.arange(begins.shape[2 + axis]) * it.stride - it.before
        begins = begins + steps[axis] * starts.reshape([1, 1, *along])
    images = np.arange(prod(shape[:2])).reshape([*shape[:2], *[1] * rank]) * prod(shape[2:])
    moved = operator.emit(relax.op.take(constant(within.reshape(-1)), chosen, axis=0))
    return relax.op.add(moved, constant((begins + images).astype(np.int64)))


CONVERSIONS: dict[Key, Conversion] = {
    ("", "MaxPool"): _max_pool,
    ("", "AveragePool"): _average_pool,
    ("", "LpPool"): _lp_pool,
    ("", "MaxUnpool"): _max_unpool,
}
