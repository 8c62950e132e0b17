"""QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear: per tensor, per axis, blocked; 4 bits are kept in 8."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import get_type

from tunefarm_coordinator.models.constants import constant
from tunefarm_coordinator.models.narrow_floats import FORMATS
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Rewrite, Unsupported, attributes_of
from tunefarm_coordinator.models.operators.graph import Graph
from tunefarm_coordinator.models.operators.narrow_types import narrowed
from tunefarm_coordinator.models.operators.quantisation import along, cast, dequantised, quantised, sizes

_MICROSOFT = "com.microsoft"
_QUANTISED = ("int8", "uint8", "int16", "uint16")
_NARROW = {TensorProto.INT4: (-8, 7), TensorProto.UINT4: (0, 15), TensorProto.INT2: (-2, 1), TensorProto.UINT2: (0, 3)}
_STORED = {
    TensorProto.INT4: TensorProto.INT8,
    TensorProto.UINT4: TensorProto.UINT8,
    TensorProto.INT2: TensorProto.INT8,
    TensorProto.UINT2: TensorProto.UINT8,
}


def _quantize(operator: Operator) -> Any:
    data, scale, zero = operator.input(0), operator.input(1), operator.input(2)
    dtype = _output_dtype(operator, zero)
    axis, block = _axis(operator), int(operator.attributes.get("block_size", 0))
    if dtype not in _QUANTISED:
        return _other_quantize(operator, data, scale, axis, block, dtype)
    zero = None if zero is None else along(operator, zero, data, axis, block)
    return quantised(operator, data, along(operator, scale, data, axis, block), zero, dtype)


def _other_quantize(operator: Operator, data: Any, scale: Any, axis: int, block: int, dtype: str) -> Any:
    """To floats of 8 bits, whose zero point is none but zero."""
    if dtype not in FORMATS:
        raise Unsupported(f"to {dtype}, which no compiled model can hold")
    scale = cast(operator, along(operator, scale, data, axis, block), "float32")
    scaled = operator.emit(relax.op.divide(cast(operator, data, "float32"), scale))
    return narrowed(operator, scaled, dtype)


def _dequantize(operator: Operator) -> Any:
    data, scale, zero = operator.input(0), operator.input(1), operator.input(2)
    axis, block = _axis(operator), int(operator.attributes.get("block_size", 0))
    dtype = operator.attributes.get("output_dtype", 0)
    wanted = str(get_type(dtype)) if dtype else None
    if "float" in str(data.ty.dtype):
        zero = None  # none but zero is allowed
        data = cast(operator, data, "float32")
    zero = None if zero is None else along(operator, zero, data, axis, block)
    return dequantised(operator, data, along(operator, scale, data, axis, block), zero, wanted)


def _dynamic_quantize(operator: Operator) -> Any:
    data = operator.input(0)
    zero = constant(np.zeros((), np.float32))
    low, high = (_extreme(operator, data, reduce) for reduce in (relax.op.min, relax.op.max))
    low = operator.emit(relax.op.minimum(low, zero))
    high = operator.emit(relax.op.maximum(high, zero))
    width = operator.emit(relax.op.subtract(high, low))
    scale = operator.emit(relax.op.divide(width, constant(np.float32(255))))
    none = operator.emit(relax.op.equal(width, zero))
    scale = operator.emit(relax.op.where(none, constant(np.float32(1)), scale))
    zero_point = quantised(operator, operator.emit(relax.op.negative(low)), scale, None, "uint8")
    return [quantised(operator, data, scale, zero_point, "uint8"), scale, zero_point]


def _extreme(operator: Operator, data: Any, reduce: Any) -> Any:
    """Over all axes: first those before the last, so that the last is the lanes of vectors."""
    if len(sizes(data)) > 1:
        data = operator.emit(reduce(data, list(range(len(sizes(data)) - 1))))
    return operator.emit(reduce(data))


def _output_dtype(operator: Operator, zero: Any) -> str:
    if zero is not None:
        return str(zero.ty.dtype)
    dtype = operator.attributes.get("output_dtype", 0)
    return str(get_type(dtype)) if dtype else "uint8"


def _axis(operator: Operator) -> int:
    """Of a vector only the one that it has."""
    rank = len(sizes(operator.input(0)))
    return 0 if rank <= 1 else int(operator.attributes.get("axis", 1))


def _without_narrow(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """Constants of 4 bits and less become ones of 8 bits; so does what is quantised to them."""
    attributes = attributes_of(node)
    narrow = _narrow_output(node, graph, attributes)
    if narrow is not None and graph.is_output(node.output[0]):
        raise Unsupported("a model can't give back integers of less than 8 bits")
    inputs = [_stored(name, graph) for name in node.input]
    if inputs == list(node.input) and narrow is None:
        return None
    if narrow is None:
        return [_again(node, inputs, node.output[0], attributes)]
    attributes.pop("output_dtype", None)
    if len(inputs) < 3 or not inputs[2]:
        dtype = helper.tensor_dtype_to_np_dtype(_STORED[narrow])
        inputs = [*inputs[:2], graph.add_constant(np.zeros(graph.shape(inputs[1]) or (), dtype), "zero_point")]
    wide = graph.fresh(f"{node.output[0]}_wide")
    bounds = [np.array(bound, helper.tensor_dtype_to_np_dtype(_STORED[narrow])) for bound in _NARROW[narrow]]
    names = [graph.add_constant(bound, "bound") for bound in bounds]
    return [_again(node, inputs, wide, attributes), helper.make_node("Clip", [wide, *names], list(node.output))]


def _narrow_output(node: onnx.NodeProto, graph: Graph, attributes: dict[str, Any]) -> int | None:
    if node.op_type != "QuantizeLinear":
        return None
    dtype = graph.dtype(node.input[2]) if len(node.input) > 2 and node.input[2] else attributes.get("output_dtype")
    return dtype if dtype in _NARROW else None


def _stored(name: str, graph: Graph) -> str:
    dtype = graph.dtype(name)
    value = graph.constant(name) if dtype in _NARROW else None
    if dtype is None or value is None:
        return name
    return graph.add_constant(value.astype(helper.tensor_dtype_to_np_dtype(_STORED[dtype])), f"{name}_8_bits")


def _again(node: onnx.NodeProto, inputs: list[str], output: str, attributes: dict[str, Any]) -> onnx.NodeProto:
    return helper.make_node(node.op_type, inputs, [output], node.name, **attributes)


def _standard(node: onnx.NodeProto, _: Graph) -> list[onnx.NodeProto]:
    """ONNX Runtime's own, for integers of 16 bits before the standard had them."""
    return [helper.make_node(node.op_type, node.input, node.output, node.name, **attributes_of(node))]


CONVERSIONS: dict[Key, Conversion] = {
    ("", "QuantizeLinear"): _quantize,
    ("", "DequantizeLinear"): _dequantize,
    ("", "DynamicQuantizeLinear"): _dynamic_quantize,
}
REWRITES: dict[Key, Rewrite] = {
    ("", "QuantizeLinear"): _without_narrow,
    ("", "DequantizeLinear"): _without_narrow,
    (_MICROSOFT, "QuantizeLinear"): _standard,
    (_MICROSOFT, "DequantizeLinear"): _standard,
}
