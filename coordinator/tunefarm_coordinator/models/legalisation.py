"""Kernels of Relax operators where TVM's own are wrong, or can't be compiled.

The largest of nothing but minus infinities is minus infinity. TVM begins with the lowest finite number instead, so that
attention could not tell a row that is masked altogether. And TVM's concatenation asks for each element which input it
is from, one after the other: with some two hundred inputs, and what makes them fused in, compiling took half a minute.
Softmax divides each element by its row's sum, and dividing a vector takes as long as its exp: here it is multiplied.
A grouped convolution with channels last has an axis of groups: vectors of filters would reach across groups else.
"""

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax, te, topi

from tunefarm_coordinator.models.constants import static_shape
from tunefarm_coordinator.models.narrow_floats import FORMATS, converted

# More inputs than this are joined in groups, and the groups again.
_WIDEST = 16
# Kinds of kernels: what works element by element is fused behind one, or nothing is.
_TAKES_ELEMENTWISE, _OPAQUE = 4, 8


def _extreme(name: str, choose: Callable[[Any, Any], Any], infinity: float) -> Callable[[Any, Any], Any]:
    stock = tvm.ir.Op.get(f"relax.{name}").get_attr("FLegalize")

    def legalize(builder: Any, call: Any) -> Any:
        shape, dtype = static_shape(call.args[0]), str(call.args[0].ty.dtype)
        if not dtype.startswith(("float", "bfloat")) or shape is None:
            return stock(builder, call)
        axes = range(len(shape)) if call.attrs.axis is None else [int(axis) % len(shape) for axis in call.attrs.axis]
        reducer = te.comm_reducer(choose, lambda kind: tvm.tirx.const(infinity, kind), name=name)
        return builder.call_te(_over(reducer, sorted(axes), bool(call.attrs.keepdims), name), call.args[0])

    return legalize


def _over(reducer: Any, axes: list[int], keeps: bool, name: str) -> Callable[[Any], Any]:
    def compute(value: Any) -> Any:
        inner = {axis: te.reduce_axis((0, value.shape[axis]), f"k{axis}") for axis in axes}
        outer = [axis for axis in range(len(value.shape)) if axis not in inner]
        sizes = [1 if axis in inner else size for axis, size in enumerate(value.shape) if keeps or axis in outer]

        def element(*at: Any) -> Any:
            place = list(at) if keeps else []
            given = iter(at)
            if not keeps:
                place = [0 if axis in inner else next(given) for axis in range(len(value.shape))]
            return reducer(
                value(*(inner.get(axis, place[axis]) for axis in range(len(value.shape)))), list(inner.values())
            )

        return te.compute(sizes, element, name=name, tag=topi.tag.COMM_REDUCE)

    compute.__name__ = name
    return compute


def _astype(builder: Any, call: Any) -> Any:
    value, dtype = call.args[0], str(call.attrs.dtype)
    if dtype not in FORMATS and str(value.ty.dtype) not in FORMATS:
        return tvm.ir.Op.get("relax.astype").get_attr("FLegalize")(builder, call)
    return builder.call_te(converted, value, dtype, primfunc_name_hint="cast")


def _concat(builder: Any, call: Any) -> Any:
    fields = _fields(builder, call.args[0])
    if len(fields) <= _WIDEST:
        return tvm.ir.Op.get("relax.concat").get_attr("FLegalize")(builder, call)
    axis = 0 if call.attrs.axis is None else int(call.attrs.axis)
    while len(fields) > 1:
        groups = [fields[begin : begin + _WIDEST] for begin in range(0, len(fields), _WIDEST)]
        fields = [group[0] if len(group) == 1 else builder.emit(_joined(builder, group, axis)) for group in groups]
    return fields[0]


def _joined(builder: Any, group: list[Any], axis: int) -> Any:
    return builder.call_te(topi.concatenate, group, axis, primfunc_attrs={"op_pattern": _OPAQUE})


def _softmax(builder: Any, call: Any) -> Any:
    shape, dtype, target = static_shape(call.args[0]), str(call.args[0].ty.dtype), tvm.target.Target.current()
    if shape is None or dtype != "float32" or target is None or target.kind.name != "llvm":
        return tvm.ir.Op.get("relax.nn.softmax").get_attr("FLegalize")(builder, call)
    axis = int(call.attrs.axis) % len(shape)

    def softmax(value: Any) -> Any:
        def whole(row: tuple[Any, ...], inner: Any) -> list[Any]:
            return [*row[:axis], inner, *row[axis:]]

        def of_row(at: tuple[Any, ...]) -> tuple[Any, ...]:
            return (*at[:axis], *at[axis + 1 :])

        rows = [size for position, size in enumerate(shape) if position != axis]
        one, other = (te.reduce_axis((0, shape[axis]), name) for name in ("k", "l"))
        largest = te.compute(rows, lambda *row: te.max(value(*whole(row, one)), one), name="largest")
        powers = te.compute(shape, lambda *at: te.exp(value(*at) - largest(*of_row(at))), name="powers")
        total = te.compute(rows, lambda *row: te.sum(powers(*whole(row, other)), other), name="total")
        return te.compute(
            shape, lambda *at: powers(*at) * (tvm.tirx.const(1, dtype) / total(*of_row(at))), name="softmax"
        )

    return builder.call_te(softmax, call.args[0], primfunc_attrs={"op_pattern": _TAKES_ELEMENTWISE})


def _convolution(name: str, channels_last: str) -> Callable[[Any, Any], Any]:
    stock = tvm.ir.Op.get(f"relax.nn.{name}").get_attr("FLegalize")

    def legalize(builder: Any, call: Any) -> Any:
        groups, shape, weight = int(call.attrs.groups), static_shape(call.args[0]), static_shape(call.args[1])
        if groups == 1 or call.attrs.data_layout != channels_last or shape is None or weight is None:
            return stock(builder, call)
        *window, depth, filters = weight
        if depth == 1:
            return stock(builder, call)
        by_group = builder.emit(relax.op.reshape(call.args[1], (*window, depth, groups, filters // groups)))
        return builder.call_te(
            _by_groups(call, len(window)),
            call.args[0],
            by_group,
            primfunc_name_hint=f"group_{name}",
            primfunc_attrs={"op_pattern": _TAKES_ELEMENTWISE},
        )

    return legalize


def _by_groups(call: Any, axes: int) -> Callable[[Any, Any], Any]:
    """The convolution of (batch, *pixels, channels) and (*window, channels of a group, groups, filters of a group)."""
    attrs, dtype = call.attrs, str(call.ty.dtype)
    strides, dilation, padding = (
        [int(size) for size in each] for each in (attrs.strides, attrs.dilation, attrs.padding)
    )
    before, after = [0, *padding[:axes], 0], [0, *padding[axes:], 0]
    sizes = static_shape(call) or ()

    def compute(pixels: Any, weight: Any) -> Any:
        *window, depth, groups, filters = (int(size) for size in weight.shape)
        if any(padding):
            pixels = topi.nn.pad(pixels, before, after, name="pad_temp")
        taps = [te.reduce_axis((0, size), f"r{axis}") for axis, size in enumerate(window)]
        channel = te.reduce_axis((0, depth), "rc")

        def product(*at: Any) -> Any:
            batch, *place, group, own = at
            read = [p * s + tap * d for p, s, tap, d in zip(place, strides, taps, dilation, strict=True)]
            one = pixels(batch, *read, group * depth + channel).astype(dtype)
            return te.sum(one * weight(*taps, channel, group, own).astype(dtype), [*taps, channel])

        shape = (*sizes[:-1], groups, filters)
        products = te.compute(shape, product, name=f"group_conv{axes}d_n{'hw'[-axes:]}c")
        return te.compute(
            sizes, lambda *at: products(*at[:-1], at[-1] // filters, at[-1] % filters), name="side_by_side"
        )

    return compute


def _fields(builder: Any, value: Any) -> list[Any]:
    """The elements of a tuple, by the names that they have already where it was just made."""
    bound = value
    while isinstance(bound, relax.Var):
        found = builder.lookup_binding(bound)
        if not isinstance(found, relax.Tuple | relax.Var):
            break
        bound = found
    if isinstance(bound, relax.Tuple):
        return list(bound.fields)
    return [relax.TupleGetItem(value, index) for index in range(len(value.ty.fields))]


# For `relax.transform.LegalizeOps`, by operator.
OURS: dict[str, Callable[[Any, Any], Any]] = {
    "relax.astype": _astype,
    "relax.concat": _concat,
    "relax.nn.conv1d": _convolution("conv1d", "NWC"),
    "relax.nn.conv2d": _convolution("conv2d", "NHWC"),
    "relax.nn.softmax": _softmax,
    "relax.max": _extreme("max", lambda one, other: tvm.tirx.max(one, other), float("-inf")),
    "relax.min": _extreme("min", lambda one, other: tvm.tirx.min(one, other), float("inf")),
}
