"""Casts to integers, and to types of 8 bits and less: floats of 8 bits as ONNX rounds and saturates them; narrower ones
are refused."""

from typing import Any

import onnx
from onnx import helper
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tunefarm_coordinator.models.constants import is_constant
from tunefarm_coordinator.models.narrow_floats import FORMATS, converted
from tunefarm_coordinator.models.operators.family import (
    Conversion,
    Key,
    Operator,
    Rewrite,
    Unsupported,
    attributes_of,
)
from tunefarm_coordinator.models.operators.graph import Graph

_KNOWN = {"bfloat16", *FORMATS}


def _cast(operator: Operator) -> Any:
    dtype = helper.tensor_dtype_to_np_dtype(operator.attributes["to"])
    if dtype.name not in _KNOWN and dtype.isbuiltin == 2:
        raise Unsupported(f"to {dtype.name}, which no compiled model can hold")
    value = operator.inputs[0]
    if dtype.name in FORMATS and isinstance(value, relax.Expr) and not isinstance(value, relax.ShapeExpr):
        return narrowed(operator, value, dtype.name)
    if dtype.kind in "iu" and _is_float(value):
        return _whole(value, dtype)
    return onnx_frontend.Cast._impl_v13(operator.builder, list(operator.inputs), {"to": operator.attributes["to"]}, [])


def _is_float(value: Any) -> bool:
    is_tensor = isinstance(value, relax.Expr) and isinstance(value.ty, relax.TensorType) and not is_constant(value)
    return is_tensor and str(value.ty.dtype).startswith(("float", "bfloat"))


def _whole(value: Any, dtype: Any) -> Any:
    """Through a signed integer of the processor's, as C does it. TVM's importer spells out how values beyond the range
    wrap, which ONNX leaves open, in a dozen operators: fused, two casts in a row compiled for many minutes."""
    wide = "int32" if dtype.itemsize < 4 or dtype.name == "int32" else "int64"
    whole = relax.op.astype(value, wide)
    return whole if dtype.name == wide else relax.op.astype(whole, dtype.name)


def narrowed(operator: Operator, value: Any, dtype: str) -> Any:
    """`value` in a float of 8 bits, as the node's attribute `saturate` has it."""
    if str(value.ty.dtype) == dtype:
        return value
    if operator.attributes.get("saturate", 1):
        return relax.op.astype(value, dtype)
    return operator.builder.emit_te(converted, value, dtype, saturate=False, primfunc_name_hint="cast")


def _cast_like(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """ONNX's own body of the operator forgets `saturate`."""
    dtype = graph.dtype(node.input[1])
    if dtype is None:
        return None
    kept = {name: value for name, value in attributes_of(node).items() if name in ("saturate", "round_mode")}
    return [helper.make_node("Cast", node.input[:1], node.output, node.name, to=dtype, **kept)]


CONVERSIONS: dict[Key, Conversion] = {("", "Cast"): _cast}
REWRITES: dict[Key, Rewrite] = {("", "CastLike"): _cast_like}
