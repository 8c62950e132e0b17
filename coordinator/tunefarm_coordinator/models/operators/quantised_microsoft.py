"""ONNX Runtime's own quantised operators (domain com.microsoft), which its quantiser writes into models.

Element-wise ones, pools and concatenations compute in float between their quantised ends, as ONNX Runtime does; what
is a product stays one of integers.
"""

from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tunefarm_coordinator.models.operators.drafting import Draft
from tunefarm_coordinator.models.operators.family import Key, Rewrite, Unsupported, attributes_of
from tunefarm_coordinator.models.operators.graph import Graph

_DOMAIN = "com.microsoft"


def _input(node: onnx.NodeProto, index: int) -> str:
    """Its name; empty where it is left out."""
    return str(node.input[index]) if index < len(node.input) else ""


def _floats(draft: Draft, node: onnx.NodeProto, first: int) -> str:
    """The quantised value whose tensor, scale and zero point begin at input `first`, in float."""
    return draft.add("DequantizeLinear", *_three(node, first))


def _three(node: onnx.NodeProto, first: int) -> list[str]:
    three = [_input(node, first + offset) for offset in range(3)]
    return three if three[2] else three[:2]


def _ended(draft: Draft, value: str, node: onnx.NodeProto, scale: int, dtype: int | None) -> list[onnx.NodeProto]:
    """`value` quantised by the scale at input `scale` and the zero point after it, 0 of `dtype` where left out."""
    zero = _input(node, scale + 1)
    if not zero:
        kind = np.int8 if dtype == TensorProto.INT8 else np.uint8
        zero = draft.constant(np.zeros((), kind))
    draft.add("QuantizeLinear", value, _input(node, scale), zero)
    return draft.ended()


def _binary(operator: str, node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    draft = Draft(graph, node.output[0])
    value = draft.add(operator, _floats(draft, node, 0), _floats(draft, node, 3))
    return _ended(draft, value, node, 6, graph.dtype(node.input[0]))


def _unary(operator: str, node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    draft = Draft(graph, node.output[0])
    attributes = attributes_of(node)
    attributes.pop("opset", None)
    value = draft.add(operator, _floats(draft, node, 0), **attributes)
    return _ended(draft, value, node, 3, graph.dtype(node.input[0]))


def _pool(operator: str, node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    attributes = attributes_of(node)
    last = bool(attributes.pop("channels_last", 0))
    rank = len(graph.shape(node.input[0]) or ())
    if last and not rank:
        raise Unsupported("channels come last, in a tensor whose number of axes is not known")
    draft = Draft(graph, node.output[0])
    value = _floats(draft, node, 0)
    if last:
        value = draft.add("Transpose", value, perm=[0, rank - 1, *range(1, rank - 1)])
    value = draft.add(operator, value, **attributes)
    if last:
        value = draft.add("Transpose", value, perm=[0, *range(2, rank), 1])
    return _ended(draft, value, node, 3, graph.dtype(node.input[0]))


def _concat(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    draft = Draft(graph, node.output[0])
    values = [_floats(draft, node, first) for first in range(2, len(node.input), 3)]
    value = draft.add("Concat", *values, **attributes_of(node))
    return _ended(draft, value, node, 0, graph.dtype(node.input[2]))


def _where(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    draft = Draft(graph, node.output[0])
    value = draft.add("Where", node.input[0], _floats(draft, node, 1), _floats(draft, node, 4))
    return _ended(draft, value, node, 7, graph.dtype(node.input[1]))


def _gemm(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """Inputs: A, its scale and zero point, B, its own, C (int32, or empty), the output's (none for a float)."""
    attributes = attributes_of(node)
    draft = Draft(graph, node.output[0])
    left, right = node.input[0], node.input[3]
    if attributes.get("transA"):
        left = draft.add("Transpose", left, perm=[1, 0])
    if attributes.get("transB"):
        right = draft.add("Transpose", right, perm=[1, 0])
    total = draft.add("MatMulInteger", left, right, _input(node, 2), _input(node, 5))
    if _input(node, 6):
        total = draft.add("Add", total, _input(node, 6))
    scale = draft.add("Mul", _input(node, 1), _input(node, 4))
    value = draft.add("Mul", draft.add("Cast", total, to=TensorProto.FLOAT), scale)
    if attributes.get("alpha", 1.0) != 1.0:
        value = draft.add("Mul", value, draft.constant(np.float32(attributes["alpha"])))
    if _input(node, 7):
        return _ended(draft, value, node, 7, graph.dtype(node.input[0]))
    return draft.ended()


def _product_to_float(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """Inputs: A, B, A's scale, B's, A's zero point, B's, bias."""
    draft = Draft(graph, node.output[0])
    left, right, left_scale, right_scale = node.input[:4]
    total = draft.add("MatMulInteger", left, right, _input(node, 4), _input(node, 5))
    _scaled(draft, total, left_scale, right_scale, _input(node, 6))
    return draft.ended()


def _dynamic_product(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """Inputs: A in float, B, B's scale, its zero point, bias."""
    draft = Draft(graph, node.output[0])
    left, scale, zero = draft.add_many("DynamicQuantizeLinear", [node.input[0]], 3)
    total = draft.add("MatMulInteger", left, node.input[1], zero, _input(node, 3))
    _scaled(draft, total, scale, node.input[2], _input(node, 4))
    return draft.ended()


def _scaled(draft: Draft, total: str, left_scale: str, right_scale: str, bias: str) -> str:
    """An int32 product in float, plus the bias if there is one."""
    value = draft.add("Cast", total, to=TensorProto.FLOAT)
    value = draft.add("Mul", value, draft.add("Mul", left_scale, right_scale))
    return draft.add("Add", value, bias) if bias else value


def _attention(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """Inputs: input, weights of query, key and value side by side, bias, both scales, mask, both zero points, past."""
    attributes = attributes_of(node)
    shape = graph.shape(node.input[0])
    if shape is None:
        raise Unsupported("the sizes of its input are not known")
    if _input(node, 8) or attributes.get("do_rotary") or attributes.get("past_present_share_buffer"):
        raise Unsupported("with past states or rotary embedding")
    draft = Draft(graph, node.output[0])
    total = draft.add("MatMulInteger", node.input[0], node.input[1], _input(node, 6), _input(node, 7))
    joined = _scaled(draft, total, node.input[3], node.input[4], node.input[2])
    heads, (batch, length, width) = int(attributes["num_heads"]), shape
    size = (graph.shape(node.input[1]) or (0, 3 * width))[1] // 3 // heads
    split = draft.add("Reshape", joined, draft.constant(np.array([batch, length, 3, heads, size], np.int64)))
    parts = draft.add("Transpose", split, perm=[2, 0, 3, 1, 4])
    query, key, value = (draft.add("Gather", parts, draft.constant(np.int64(i)), axis=0) for i in range(3))
    scores = draft.add("MatMul", query, draft.add("Transpose", key, perm=[0, 1, 3, 2]))
    scale = attributes.get("scale") or 1 / np.sqrt(size)
    scores = draft.add("Mul", scores, draft.constant(np.float32(scale)))
    for mask in _masks(draft, node, graph, attributes, length):
        scores = draft.add("Add", scores, mask)
    mixed = draft.add("MatMul", draft.add("Softmax", scores, axis=-1), value)
    mixed = draft.add("Transpose", mixed, perm=[0, 2, 1, 3])
    draft.add("Reshape", mixed, draft.constant(np.array([batch, length, heads * size], np.int64)))
    return draft.ended()


def _masks(draft: Draft, node: onnx.NodeProto, graph: Graph, attributes: dict[str, Any], length: int) -> list[str]:
    """What is added to the scores: nothing where there is neither a mask nor an order."""
    lowest = np.float32(attributes.get("mask_filter_value", -10000.0))
    found = []
    if _input(node, 5):
        axes = {2: [1, 2], 3: [1]}.get(len(graph.shape(node.input[5]) or ()))
        if axes is None:
            raise Unsupported("a mask of lengths; masks of zeros and ones are served")
        visible = draft.add("Cast", node.input[5], to=TensorProto.FLOAT)
        hidden = draft.add("Sub", draft.constant(np.float32(1)), visible)
        added = draft.add("Mul", hidden, draft.constant(lowest))
        shape = list(graph.shape(node.input[5]) or ())
        for axis in axes:
            shape.insert(axis, 1)
        found.append(draft.add("Reshape", added, draft.constant(np.array(shape, np.int64))))
    if attributes.get("unidirectional"):
        found.append(draft.constant(np.triu(np.full((length, length), lowest, np.float32), 1)))
    return found


def _packed_product(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """Inputs: A, B packed in blocks (N, blocks, bytes), scales, zero points, order of groups, bias."""
    packed, scales = graph.constant(node.input[1]), graph.constant(node.input[2])
    zeros = graph.constant(_input(node, 3)) if _input(node, 3) else None
    if packed is None or scales is None or (_input(node, 3) and zeros is None):
        raise Unsupported("its weights are no constants")
    if _input(node, 4):
        raise Unsupported("with an order of groups")
    attributes = attributes_of(node)
    bits, block = int(attributes.get("bits", 4)), int(attributes["block_size"])
    rows, depth = int(attributes["N"]), int(attributes["K"])
    blocks = -(-depth // block)
    values = _unpacked(packed.reshape(rows, blocks, -1), bits)[..., :block]
    if zeros is None:
        offsets: Any = np.float32(1 << (bits - 1))
    elif zeros.dtype == np.uint8:
        offsets = _unpacked(zeros.reshape(rows, -1), bits)[:, :blocks, None]
    else:
        offsets = zeros.reshape(rows, blocks, 1).astype(np.float32)
    floats = (values.astype(np.float32) - offsets) * scales.reshape(rows, blocks, 1).astype(np.float32)
    weight = floats.reshape(rows, -1)[:, :depth].T.astype(scales.dtype)
    draft = Draft(graph, node.output[0])
    value = draft.add("MatMul", node.input[0], draft.constant(weight))
    if _input(node, 5):
        draft.add("Add", value, _input(node, 5))
    return draft.ended()


def _unpacked(packed: Any, bits: int) -> Any:
    """Values of `bits` each (a divisor of 8), the first in the lowest bits of the first byte."""
    if bits not in (1, 2, 4, 8):
        raise Unsupported(f"weights of {bits} bits")
    parts = [(packed >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*packed.shape[:-1], -1)


REWRITES: dict[Key, Rewrite] = {
    (_DOMAIN, "QLinearAdd"): partial(_binary, "Add"),
    (_DOMAIN, "QLinearMul"): partial(_binary, "Mul"),
    (_DOMAIN, "QLinearSigmoid"): partial(_unary, "Sigmoid"),
    (_DOMAIN, "QLinearLeakyRelu"): partial(_unary, "LeakyRelu"),
    (_DOMAIN, "QLinearSoftmax"): partial(_unary, "Softmax"),
    (_DOMAIN, "QLinearGlobalAveragePool"): partial(_pool, "GlobalAveragePool"),
    (_DOMAIN, "QLinearAveragePool"): partial(_pool, "AveragePool"),
    (_DOMAIN, "QLinearConcat"): _concat,
    (_DOMAIN, "QLinearWhere"): _where,
    (_DOMAIN, "QGemm"): _gemm,
    (_DOMAIN, "MatMulIntegerToFloat"): _product_to_float,
    (_DOMAIN, "DynamicQuantizeMatMul"): _dynamic_product,
    (_DOMAIN, "QAttention"): _attention,
    (_DOMAIN, "MatMulNBits"): _packed_product,
}
