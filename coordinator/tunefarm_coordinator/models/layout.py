"""Convolutions to channels-last (NHWC), and everything between them that can follow.

On CPU the channels of a pixel then lie side by side, so the innermost loop of a convolution is a plain
vector loop; conversion and prepacking are worth more than the trials of a small budget (facts.md).
`relax.transform.ConvertLayout` raises on some graphs (a 5-d transpose, ShuffleNet's) and leaves a pair of
transposes around every operator that it has no rule for (PP-OCR). Here each 4-d value exists in either
form, and the other is made only where an operator needs it, so no graph can make the conversion fail.

Grouped (not depthwise) convolutions stay as they are: in NHWC the group boundary falls inside the vector.
A model whose convolutions are mostly of that kind keeps NCHW altogether.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import tvm
from tvm import relax

from tunefarm_coordinator.models.axes import LAST_AXIS, TO_FIRST, TO_LAST, reordered, same_bytes
from tunefarm_coordinator.models.constants import (
    BINARY,
    constant,
    folded,
    is_constant,
    operator_name,
    static_shape,
    with_scalars,
)
from tunefarm_coordinator.models.provenance import OF_NO_NODE

_ELEMENTWISE = {
    "relax.abs",
    "relax.astype",
    "relax.ceil",
    "relax.clip",
    "relax.cos",
    "relax.erf",
    "relax.exp",
    "relax.floor",
    "relax.log",
    "relax.negative",
    "relax.nn.gelu",
    "relax.nn.gelu_tanh",
    "relax.nn.leakyrelu",
    "relax.nn.relu",
    "relax.nn.silu",
    "relax.nn.softplus",
    "relax.round",
    "relax.rsqrt",
    "relax.sigmoid",
    "relax.sign",
    "relax.sin",
    "relax.sqrt",
    "relax.square",
    "relax.tanh",
}
_REDUCTIONS = {"relax.max", "relax.mean", "relax.min", "relax.sum", "relax.prod", "relax.variance"}
_POOLS = {"relax.nn.avg_pool2d": relax.op.nn.avg_pool2d, "relax.nn.max_pool2d": relax.op.nn.max_pool2d}


def convert_layout(mod: Any) -> tuple[Any, str]:
    """(module, layout): the module with constants folded and, where layout is "NHWC", convolutions
    converted; "NCHW" where most of the convolution work is grouped or there is none."""
    function = mod["main"]
    blocks = function.body.blocks
    if len(blocks) != 1 or not isinstance(blocks[0], relax.DataflowBlock):
        return mod, "NCHW"  # a graph with control flow
    work = {True: 0.0, False: 0.0}
    for binding in blocks[0].bindings:
        if operator_name(binding.value) == "relax.nn.conv2d":
            work[_convertible(binding.value)] += _macs(binding.value)
    channels_last = work[True] > work[False]
    new_main = _Rewriter(channels_last).rewrite(function)
    functions = {gvar: f for gvar, f in mod.functions.items() if gvar.name_hint != "main"}
    new_mod = tvm.IRModule(functions, mod.attrs)
    new_mod["main"] = new_main
    return relax.transform.DeadCodeElimination()(new_mod), "NHWC" if channels_last else "NCHW"


def _convertible(call: Any) -> bool:
    """A dense or depthwise convolution of known sizes in the importer's layout."""
    data, weight = static_shape(call.args[0]), static_shape(call.args[1])
    attrs = call.attrs
    if data is None or weight is None or attrs.data_layout != "NCHW" or attrs.kernel_layout != "OIHW":
        return False
    return bool(attrs.groups == 1 or weight[1] == 1)


def _macs(call: Any) -> float:
    return float(prod(static_shape(call) or ()) * prod((static_shape(call.args[1]) or (0, 0))[1:]))


class _Rewriter:
    """Walks one dataflow block; `_first` and `_last` hold the NCHW and NHWC forms of each old variable."""

    def __init__(self, channels_last: bool) -> None:
        self._builder = relax.BlockBuilder()
        self._channels_last = channels_last
        self._first: dict[Any, Any] = {}
        self._last: dict[Any, Any] = {}
        # Transposes of the model's own that made an NCHW form, by what they are called.
        self._named: dict[Any, str] = {}

    def rewrite(self, function: Any) -> Any:
        block = function.body.blocks[0]
        with self._builder.function("main", list(function.params), attrs=dict(function.attrs)):
            with self._builder.dataflow():
                self._first.update({parameter: parameter for parameter in function.params})
                for binding in block.bindings:
                    self._convert(binding.var, binding.value)
                output = self._plain(function.body.body)
                name = str(output.name) if isinstance(output, relax.Var) else ""
                result = self._builder.emit_output(output, name)
            self._builder.emit_func_output(result)
        return self._builder.get()["main"]

    def _convert(self, var: Any, value: Any) -> None:
        if self._channels_last and self._is_last(value):
            self._last[var], self._named[var] = self._plain(value.args[0]), str(var.name)
            return
        rule = self._rule(value) if self._channels_last else None
        converted = rule(value) if rule else None
        if converted is not None:
            self._last[var] = self._builder.emit(converted, str(var.name))
            return
        self._first[var] = self._emitted(self._reordered(value), str(var.name))

    def _is_last(self, value: Any) -> bool:
        """Whether it is the model's own transpose of what lies in NHWC already (a graph that came from TensorFlow)."""
        if operator_name(value) != "relax.permute_dims" or not isinstance(value.args[0], relax.Var):
            return False
        moves = value.attrs.axes is not None and tuple(int(axis) for axis in value.attrs.axes) == TO_FIRST
        return moves and static_shape(value) is not None and isinstance(self._plain(value.args[0]), relax.Var)

    def _emitted(self, value: Any, name: str) -> Any:
        value = self._builder.normalize(value)
        if isinstance(value, tvm.ir.Call):
            constant_value = folded(value)
            if constant_value is not None:
                return constant_value
            value = self._builder.normalize(with_scalars(value))
        return value if is_constant(value) else self._builder.emit(value, name)

    def _reordered(self, value: Any) -> Any:
        """`value` in the importer's layout; a transpose or reshape of an NHWC form is read off that form."""
        source = value.args[0] if isinstance(value, tvm.ir.Call) and value.args else None
        if source in self._last and source not in self._first:
            last = self._last[source]
            if operator_name(value) == "relax.permute_dims" and value.attrs.axes is not None:
                axes = [LAST_AXIS[int(axis)] for axis in value.attrs.axes]
                return last if axes == [0, 1, 2, 3] else relax.op.permute_dims(last, axes)
            target = static_shape(value)
            if operator_name(value) == "relax.reshape" and target and same_bytes(static_shape(last)):
                return relax.op.reshape(last, target)
        return self._plain(value)

    def _plain(self, expr: Any) -> Any:
        """`expr` with every old variable replaced by its NCHW form."""
        if isinstance(expr, relax.Var):
            return self._as_first(expr)
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self._plain(field) for field in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            return relax.TupleGetItem(self._plain(expr.tuple_value), expr.index)
        if isinstance(expr, tvm.ir.Call):
            arguments = [self._plain(argument) for argument in expr.args]
            return tvm.ir.Call(expr.op, arguments, expr.attrs, expr.ty_args)
        return expr

    def _as_first(self, var: Any) -> Any:
        if var not in self._first:
            name = self._named.get(var, OF_NO_NODE)
            self._first[var] = self._builder.emit(reordered(self._last[var], TO_FIRST), name)
        return self._first[var]

    def _as_last(self, expr: Any) -> Any:
        if is_constant(expr) or expr not in self._last:
            first = expr if is_constant(expr) else self._first[expr]
            if is_constant(first):
                array = first.value.numpy()
                padded = array.reshape((1,) * (4 - array.ndim) + array.shape)
                return constant(padded.transpose(TO_LAST))
            self._last[expr] = self._builder.emit(reordered(first, TO_LAST), OF_NO_NODE)
        return self._last[expr]

    # Rules: each returns the NHWC form of a call, or None where it can't be had.

    def _rule(self, value: Any) -> Callable[[Any], Any] | None:
        name = operator_name(value)
        if name == "relax.nn.conv2d" and _convertible(value):
            return self._convolution
        if name == "relax.nn.conv2d_transpose" and _unfolds(value):
            return self._transposed_convolution
        follows = any(a in self._last for a in getattr(value, "args", ()) if isinstance(a, relax.Var))
        if name == "relax.concat":
            follows = any(field in self._last for field in getattr(value.args[0], "fields", ()))
        if not follows or len(static_shape(value) or ()) != 4:
            return None
        if name in BINARY:
            return self._binary
        if name in _ELEMENTWISE:
            return self._elementwise
        if name in _POOLS:
            return self._pool
        if name in _REDUCTIONS:
            return self._reduction
        rules = {
            "relax.concat": self._concat,
            "relax.image.resize2d": self._resize,
            "relax.nn.pad": self._pad,
            "relax.strided_slice": self._slice,
        }
        return rules.get(name)

    def _convolution(self, call: Any) -> Any:
        attrs = call.attrs
        weight = self._plain(call.args[1])
        order = (2, 3, 1, 0)
        if is_constant(weight):
            weight = constant(weight.value.numpy().transpose(order))
        else:
            weight = self._builder.emit(relax.op.permute_dims(weight, order))
        return relax.op.nn.conv2d(
            self._as_last(call.args[0]),
            weight,
            attrs.strides,
            attrs.padding,
            attrs.dilation,
            attrs.groups,
            "NHWC",
            "HWIO",
            "NHWC",
            attrs.out_dtype,
        )

    def _transposed_convolution(self, call: Any) -> Any:
        """Windows that don't overlap: one 1x1 convolution for the whole window, then its pixels in place."""
        weight = self._plain(call.args[1]).value.numpy()  # (in, out, height, width)
        inputs, outputs, height, width = weight.shape
        batch, _, rows, columns = static_shape(call.args[0]) or (0, 0, 0, 0)
        kernel = constant(weight.transpose(0, 2, 3, 1).reshape(1, 1, inputs, height * width * outputs))
        emit, op = self._builder.emit, relax.op
        pixels = emit(op.nn.conv2d(self._as_last(call.args[0]), kernel, data_layout="NHWC", kernel_layout="HWIO"))
        windows = emit(op.reshape(pixels, (batch, rows, columns, height, width, outputs)))
        placed = emit(op.permute_dims(windows, (0, 1, 3, 2, 4, 5)))
        return op.reshape(placed, (batch, rows * height, columns * width, outputs))

    def _binary(self, call: Any) -> Any:
        for operand in call.args:
            rank = getattr(operand.ty, "ndim", -1)
            if not is_constant(self._first.get(operand, operand)) and rank not in (0, 4):
                return None
        operands = [self._plain(a) if a.ty.ndim == 0 else self._as_last(a) for a in call.args]
        return with_scalars(tvm.ir.Call(call.op, operands, call.attrs))

    def _elementwise(self, call: Any) -> Any:
        rest = [self._plain(argument) for argument in call.args[1:]]
        return tvm.ir.Call(call.op, [self._as_last(call.args[0]), *rest], call.attrs, call.ty_args)

    def _pool(self, call: Any) -> Any:
        attrs = call.attrs
        if attrs.layout != "NCHW":
            return None
        return _POOLS[call.op.name](
            self._as_last(call.args[0]),
            attrs.pool_size,
            attrs.strides,
            attrs.padding,
            attrs.dilation,
            attrs.ceil_mode,
            attrs.count_include_pad,
            "NHWC",
        )

    def _reduction(self, call: Any) -> Any:
        if call.attrs.axis is None or not call.attrs.keepdims:
            return None
        axes = sorted(LAST_AXIS[int(axis) % 4] for axis in call.attrs.axis)
        reduce = getattr(relax.op, call.op.name.removeprefix("relax."))
        return reduce(self._as_last(call.args[0]), axes, keepdims=True)

    def _concat(self, call: Any) -> Any:
        fields = [self._as_last(field) for field in call.args[0].fields]
        return relax.op.concat(fields, LAST_AXIS[int(call.attrs.axis) % 4])

    def _slice(self, call: Any) -> Any:
        axes, *bounds = call.args[1:]
        if not all(isinstance(each, relax.Tuple) for each in (axes, *bounds)):
            return None
        moved = [LAST_AXIS[int(axis) % 4] for axis in axes.fields]
        places = [[int(place) for place in each.fields] for each in bounds]
        assumed = call.attrs.assume_inbound
        return relax.op.strided_slice(self._as_last(call.args[0]), moved, *places, assume_inbound=assumed)

    def _pad(self, call: Any) -> Any:
        widths = [int(width) for width in call.attrs.pad_width]
        ordered = [width for axis in TO_LAST for width in widths[2 * axis : 2 * axis + 2]]
        value = getattr(call.attrs, "pad_value", 0)
        return relax.op.nn.pad(self._as_last(call.args[0]), ordered, call.attrs.pad_mode, value)

    def _resize(self, call: Any) -> Any:
        attrs = call.attrs
        if attrs.layout != "NCHW":
            return None
        return relax.op.image.resize2d(
            self._as_last(call.args[0]),
            call.args[1],
            [float(value) for value in attrs.roi],
            "NHWC",
            attrs.method,
            attrs.coordinate_transformation_mode,
            attrs.rounding_method,
            attrs.cubic_alpha,
            attrs.cubic_exclude,
            attrs.extrapolation_value,
        )


def _unfolds(call: Any) -> bool:
    """A transposed convolution whose stride is its window: no two windows touch the same pixel."""
    attrs, weight = call.attrs, static_shape(call.args[1])
    return bool(
        weight is not None
        and is_constant(call.args[1])
        and static_shape(call.args[0]) is not None
        and attrs.data_layout == "NCHW"
        and attrs.kernel_layout == "IOHW"
        and attrs.groups == 1
        and [int(s) for s in attrs.strides] == list(weight[2:])
        and not any(int(p) for p in [*attrs.padding, *attrs.output_padding])
        and all(int(d) == 1 for d in attrs.dilation)
    )
