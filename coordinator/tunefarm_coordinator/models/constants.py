"""Folding of constants in NumPy while a Relax graph is rewritten.

`relax.transform.FoldConstant` compiles a kernel for every fold, a second or four for the bias reshapes of
one model; moving bytes about needs no compiler.
"""

from typing import Any

import numpy as np
import tvm
from tvm import relax

BINARY = {
    "relax.add",
    "relax.divide",
    "relax.equal",
    "relax.greater",
    "relax.greater_equal",
    "relax.less",
    "relax.less_equal",
    "relax.maximum",
    "relax.minimum",
    "relax.multiply",
    "relax.power",
    "relax.subtract",
}


def operator_name(expr: Any) -> str:
    """The Relax operator that `expr` calls, as in "relax.add"; empty where it calls none."""
    is_call = isinstance(expr, tvm.ir.Call) and isinstance(expr.op, tvm.ir.Op)
    return str(expr.op.name) if is_call else ""


def is_constant(expr: Any) -> bool:
    return isinstance(expr, tvm.ir.GenericConst)


def constant(array: Any) -> Any:
    array = np.array(array, order="C")  # ascontiguousarray would make a scalar a vector
    return relax.const(array, str(array.dtype))


def folded(call: Any) -> Any | None:
    """The constant that `call` comes to, where it only moves the bytes of one; otherwise None."""
    name = operator_name(call)
    if not call.args or not is_constant(call.args[0]):
        return None
    array = call.args[0].value.numpy()
    if name in ("relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten"):
        return constant(array.reshape(static_shape(call)))
    if name == "relax.permute_dims":
        axes = call.attrs.axes
        return constant(array.transpose(None if axes is None else [int(a) for a in axes]))
    return None


def with_scalars(call: Any) -> Any:
    """A binary `call` whose one-element constant is a scalar, which legalisation turns into an immediate;
    otherwise each would be one more argument of the kernel."""
    if operator_name(call) not in BINARY:
        return call
    left, right = call.args
    left_scalar, right_scalar = _scalar(left, right), _scalar(right, left)
    if right_scalar is not None:
        return tvm.ir.Call(call.op, [left, right_scalar], call.attrs)
    if left_scalar is not None:
        return tvm.ir.Call(call.op, [left_scalar, right], call.attrs)
    return call


def _scalar(expr: Any, other: Any) -> Any | None:
    if not is_constant(expr) or is_constant(other):
        return None
    array = expr.value.numpy()
    if array.size != 1 or not isinstance(other.ty, relax.TensorType) or array.ndim > other.ty.ndim:
        return None
    return constant(array.reshape(()))


def static_shape(expr: Any) -> tuple[int, ...] | None:
    """Sizes of a tensor expression in elements; None where one is not known."""
    tensor_type = expr.ty
    if not isinstance(tensor_type, relax.TensorType) or tensor_type.shape is None:
        return None
    dims = getattr(tensor_type.shape, "values", None)
    if dims is None or not all(isinstance(d, tvm.tirx.IntImm | int) for d in dims):
        return None
    return tuple(int(d) for d in dims)
