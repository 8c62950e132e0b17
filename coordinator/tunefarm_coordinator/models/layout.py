"""Convolutions to channels-last (NHWC; NWC where they are 1-d), and everything between them that can follow.

On CPU the channels of a pixel then lie side by side, so the innermost loop of a convolution is a plain
vector loop; conversion and prepacking are worth more than the trials of a small budget (facts.md).
`relax.transform.ConvertLayout` raises on some graphs (a 5-d transpose, ShuffleNet's) and leaves a pair of
transposes around every operator that it has no rule for (PP-OCR). Here each 3-d and 4-d value exists in either
form, and the other is made only where an operator needs it, so no graph can make the conversion fail.

Grouped (not depthwise) convolutions go along on CPUs, where kernels of our own have an axis of groups
(`legalisation`); what shuffles channels between them too. For GPUs they stay as they are, and a model whose
convolutions are mostly of that kind keeps NCHW altogether.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tunefarm_coordinator.models.axes import last_axis, reordered, same_bytes, to_first, to_last
from tunefarm_coordinator.models.constants import (
    BINARY,
    constant,
    folded,
    is_constant,
    operator_name,
    static_shape,
    with_scalars,
)
from tunefarm_coordinator.models.layout_convolutions import converted, convertible, is_convolution, macs
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
_POOLS = {
    "relax.nn.avg_pool1d": (relax.op.nn.avg_pool1d, "NCW", "NWC"),
    "relax.nn.avg_pool2d": (relax.op.nn.avg_pool2d, "NCHW", "NHWC"),
    "relax.nn.max_pool1d": (relax.op.nn.max_pool1d, "NCW", "NWC"),
    "relax.nn.max_pool2d": (relax.op.nn.max_pool2d, "NCHW", "NHWC"),
}
_RANKS = (3, 4)


def convert_layout(mod: Any, *, grouped: bool) -> tuple[Any, str]:
    """(module, layout): the module with constants folded and, where layout is "NHWC", convolutions converted, those of
    several groups only if `grouped`; "NCHW" where most of the convolution work can't be, or there is none."""
    function = mod["main"]
    blocks = function.body.blocks
    if len(blocks) != 1 or not isinstance(blocks[0], relax.DataflowBlock):
        return mod, "NCHW"  # a graph with control flow
    work = {True: 0.0, False: 0.0}
    for binding in blocks[0].bindings:
        if is_convolution(binding.value):
            work[convertible(binding.value, grouped)] += macs(binding.value)
    channels_last = work[True] > work[False]
    new_main = _Rewriter(channels_last, grouped).rewrite(function)
    functions = {gvar: f for gvar, f in mod.functions.items() if gvar.name_hint != "main"}
    new_mod = tvm.IRModule(functions, mod.attrs)
    new_mod["main"] = new_main
    return relax.transform.DeadCodeElimination()(new_mod), "NHWC" if channels_last else "NCHW"


class _Rewriter:
    """Walks one dataflow block; `_first` and `_last` hold the NCHW and NHWC forms of each old variable."""

    def __init__(self, channels_last: bool, grouped: bool) -> None:
        self._builder = relax.BlockBuilder()
        self._channels_last, self._grouped = channels_last, grouped
        self._first: dict[Any, Any] = {}
        self._last: dict[Any, Any] = {}
        # What old variables stand for, of the calls that a shuffle of channels is made of.
        self._moves: dict[Any, Any] = {}
        # Transposes of the model's own that made an NCHW form, by what they are called.
        self._named: dict[Any, str] = {}
        self._norms: dict[Any, Any] = {}

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
        if operator_name(value) == "relax.nn.batch_norm":
            self._norms[var] = value
        if operator_name(value) in ("relax.reshape", "relax.permute_dims"):
            self._moves[var] = value
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
        moves = value.attrs.axes is not None and tuple(int(axis) for axis in value.attrs.axes) == to_first(4)
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
                axes = [last_axis(int(axis), len(value.attrs.axes)) for axis in value.attrs.axes]
                return last if axes == sorted(axes) else relax.op.permute_dims(last, axes)
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
            last, name = self._last[var], self._named.get(var, OF_NO_NODE)
            self._first[var] = self._builder.emit(reordered(last, to_first(_rank(last))), name)
        return self._first[var]

    def _as_last(self, expr: Any, rank: int = 0) -> Any:
        """The channels-last form of a value; a constant that is broadcast has the axes of `rank`."""
        if is_constant(expr) or expr not in self._last:
            first = expr if is_constant(expr) else self._first[expr]
            if is_constant(first):
                array = first.value.numpy()
                padded = array.reshape((1,) * (rank - array.ndim) + array.shape)
                return constant(padded.transpose(to_last(padded.ndim)))
            self._last[expr] = self._builder.emit(reordered(first, to_last(_rank(first))), OF_NO_NODE)
        return self._last[expr]

    # Rules: each returns the NHWC form of a call, or None where it can't be had.

    def _rule(self, value: Any) -> Callable[[Any], Any] | None:
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in self._norms and value.index == 0:
            return self._normalised
        name = operator_name(value)
        if is_convolution(value) and convertible(value, self._grouped):
            return self._convolution
        if name == "relax.reshape":
            return self._shuffle
        follows = any(a in self._last for a in getattr(value, "args", ()) if isinstance(a, relax.Var))
        if name == "relax.concat":
            follows = any(field in self._last for field in getattr(value.args[0], "fields", ()))
        if not follows or len(static_shape(value) or ()) not in _RANKS:
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
        return converted(call, self._as_last(call.args[0]), self._plain(call.args[1]), self._builder.emit)

    def _shuffle(self, call: Any) -> Any:
        """Channels cut in two axes, those exchanged and joined again, as between grouped convolutions."""
        exchange: Any = self._moves.get(call.args[0])
        cut: Any = self._moves.get(exchange.args[0]) if operator_name(exchange) == "relax.permute_dims" else None
        if operator_name(cut) != "relax.reshape" or cut.args[0] not in self._last or exchange.attrs.axes is None:
            return None
        whole, axes = static_shape(cut.args[0]) or (), static_shape(cut) or ()
        batch, channels, *place = whole
        cuts_channels = len(axes) == len(whole) + 1 and axes == (batch, *axes[1:3], *place)
        exchanged = [int(axis) for axis in exchange.attrs.axes] == [0, 2, 1, *range(3, len(axes))]
        if not cuts_channels or not exchanged or static_shape(call) != whole:
            return None
        apart = self._builder.emit(relax.op.reshape(self._last[cut.args[0]], (batch, *place, *axes[1:3])), OF_NO_NODE)
        last = [*range(len(place) + 1), len(place) + 2, len(place) + 1]
        turned = self._builder.emit(relax.op.permute_dims(apart, last), OF_NO_NODE)
        return relax.op.reshape(turned, (batch, *place, channels))

    def _normalised(self, item: Any) -> Any:
        """Batch norm as one product and one sum, where its statistics are constants."""
        norm = self._norms[item.tuple_value]
        data, *constants = norm.args
        rank, attrs = _rank(data), norm.attrs
        wanted = data in self._last and int(attrs.axis) % rank == 1 and not attrs.training
        if not wanted or not all(is_constant(each) for each in constants):
            return None
        gamma, beta, mean, variance = (each.value.numpy().astype(np.float64) for each in constants)
        scale = (gamma if attrs.scale else 1.0) / np.sqrt(variance + float(attrs.epsilon))
        shift = (beta if attrs.center else 0.0) - mean * scale
        dtype = constants[0].value.numpy().dtype
        scaled = self._builder.emit(relax.op.multiply(self._last[data], constant(scale.astype(dtype))), OF_NO_NODE)
        return relax.op.add(scaled, constant(shift.astype(dtype)))

    def _binary(self, call: Any) -> Any:
        whole = _rank(call)
        for operand in call.args:
            if not is_constant(self._first.get(operand, operand)) and _rank(operand) not in (0, whole):
                return None
        operands = [self._plain(a) if a.ty.ndim == 0 else self._as_last(a, whole) for a in call.args]
        return with_scalars(tvm.ir.Call(call.op, operands, call.attrs))

    def _elementwise(self, call: Any) -> Any:
        rest = [self._plain(argument) for argument in call.args[1:]]
        return tvm.ir.Call(call.op, [self._as_last(call.args[0]), *rest], call.attrs, call.ty_args)

    def _pool(self, call: Any) -> Any:
        attrs = call.attrs
        make, first, last = _POOLS[call.op.name]
        if attrs.layout != first:
            return None
        return make(
            self._as_last(call.args[0]),
            attrs.pool_size,
            attrs.strides,
            attrs.padding,
            attrs.dilation,
            attrs.ceil_mode,
            attrs.count_include_pad,
            last,
        )

    def _reduction(self, call: Any) -> Any:
        if call.attrs.axis is None or not call.attrs.keepdims:
            return None
        axes = sorted(last_axis(int(axis), _rank(call)) for axis in call.attrs.axis)
        reduce = getattr(relax.op, call.op.name.removeprefix("relax."))
        return reduce(self._as_last(call.args[0]), axes, keepdims=True)

    def _concat(self, call: Any) -> Any:
        fields = [self._as_last(field, _rank(call)) for field in call.args[0].fields]
        return relax.op.concat(fields, last_axis(int(call.attrs.axis), _rank(call)))

    def _slice(self, call: Any) -> Any:
        axes, *bounds = call.args[1:]
        if not all(isinstance(each, relax.Tuple) for each in (axes, *bounds)):
            return None
        moved = [last_axis(int(axis), _rank(call)) for axis in axes.fields]
        places = [[int(place) for place in each.fields] for each in bounds]
        assumed = call.attrs.assume_inbound
        return relax.op.strided_slice(self._as_last(call.args[0]), moved, *places, assume_inbound=assumed)

    def _pad(self, call: Any) -> Any:
        widths = [int(width) for width in call.attrs.pad_width]
        ordered = [width for axis in to_last(_rank(call)) for width in widths[2 * axis : 2 * axis + 2]]
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


def _rank(expr: Any) -> int:
    """Axes of a tensor; -1 where they are not known."""
    return int(getattr(expr.ty, "ndim", -1))
