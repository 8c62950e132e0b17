"""Kernels of Relax operators where TVM's own are wrong.

The largest of nothing but minus infinities is minus infinity. TVM begins with the lowest finite number instead, so that
attention could not tell a row that is masked altogether.
"""

from collections.abc import Callable
from typing import Any

import tvm
from tvm import te, topi

from tunefarm_coordinator.models.constants import static_shape
from tunefarm_coordinator.models.narrow_floats import FORMATS, converted


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


# For `relax.transform.LegalizeOps`, by operator.
OURS: dict[str, Callable[[Any, Any], Any]] = {
    "relax.astype": _astype,
    "relax.max": _extreme("max", lambda one, other: tvm.tirx.max(one, other), float("-inf")),
    "relax.min": _extreme("min", lambda one, other: tvm.tirx.min(one, other), float("inf")),
}
