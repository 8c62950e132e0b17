"""Graphs that say "quantised" by DequantizeLinear before and QuantizeLinear after operators on floats (QDQ).

A product or convolution of two values that both come from integers of 8 bits becomes one of integers, and what it
was in float by one factor for each filter. What follows (bias, activation, residual, QuantizeLinear) fuses into it.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from tunefarm_coordinator.models.operators.drafting import Draft
from tunefarm_coordinator.models.operators.family import Key, Rewrite, attributes_of
from tunefarm_coordinator.models.operators.graph import Graph

_BYTES = (TensorProto.INT8, TensorProto.UINT8)
# Operators that move values and change none: what they do to integers, they do to the floats that those stand for.
_MOVES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


@dataclass(frozen=True)
class _Quantised:
    """Where a float comes from: integers of 8 bits by scale and zero point (empty for 0), `moves` after that, last
    first. `parameters` of the scale: 1, or as many as indices of the `axis`."""

    data: str
    scale: str
    zero: str
    axis: int
    parameters: int
    moves: tuple[onnx.NodeProto, ...]


def _quantised(name: str, graph: Graph) -> _Quantised | None:
    moves = []
    node = graph.producer(name)
    while node is not None and node.op_type in _MOVES and node.domain in ("", "ai.onnx"):
        moves.append(node)
        node = graph.producer(node.input[0])
    if node is None or node.op_type != "DequantizeLinear" or graph.dtype(node.input[0]) not in _BYTES:
        return None
    attributes = attributes_of(node)
    shape, data_shape = graph.shape(node.input[1]), graph.shape(node.input[0])
    if shape is None or data_shape is None or attributes.get("block_size") or len(shape) > 1:
        return None
    if graph.dtype(node.input[1]) != TensorProto.FLOAT:
        return None
    zero = node.input[2] if len(node.input) > 2 else ""
    axis, parameters = int(attributes.get("axis", 1)) % max(1, len(data_shape)), int(np.prod(shape, dtype=np.int64))
    if parameters > 1 and moves:
        if [move.op_type for move in moves] != ["Transpose"]:
            return None
        axis = _moved(moves[0], axis, len(data_shape))
    return _Quantised(node.input[0], node.input[1], zero, axis, parameters, tuple(moves))


def _moved(transpose: onnx.NodeProto, axis: int, rank: int) -> int:
    order = attributes_of(transpose).get("perm") or list(reversed(range(rank)))
    return list(order).index(axis)


def _integers(draft: Draft, source: _Quantised) -> str:
    """The integers, moved as the floats were."""
    name = source.data
    for move in reversed(source.moves):
        name = draft.add(move.op_type, name, *move.input[1:], **attributes_of(move))
    return name


def _convolution(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    data, weight = (_quantised(node.input[index], graph) for index in (0, 1))
    if data is None or weight is None or data.parameters != 1:
        return None
    if weight.parameters != 1 and weight.axis != 0:
        return None
    rank = len(graph.shape(node.input[1]) or ())
    if not rank:
        return None
    draft = Draft(graph, node.output[0])
    operands = [_integers(draft, data), _integers(draft, weight), data.zero, weight.zero]
    total = draft.add("ConvInteger", *operands, **attributes_of(node))
    value = draft.add("Mul", draft.add("Cast", total, to=TensorProto.FLOAT), _factor(draft, data, weight, rank - 1))
    if len(node.input) > 2 and node.input[2]:
        filters = draft.constant(np.array([1, -1, *[1] * (rank - 2)], np.int64))
        draft.add("Add", value, draft.add("Reshape", node.input[2], filters))
    return draft.ended()


def _factor(draft: Draft, data: _Quantised, weight: _Quantised, rest: int) -> str:
    """One number, or one for each index of the axis that `rest` others follow."""
    scale = draft.add("Mul", data.scale, weight.scale)
    shape = np.array([] if weight.parameters == 1 else [-1, *[1] * (rest - 1)], np.int64)
    return draft.add("Reshape", scale, draft.constant(shape))


def _product(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    left, right = (_quantised(node.input[index], graph) for index in (0, 1))
    if left is None or right is None:
        return None
    draft = Draft(graph, node.output[0])
    return draft.ended() if _matmul(draft, graph, node, left, right) else None


def _matmul(draft: Draft, graph: Graph, node: onnx.NodeProto, left: _Quantised, right: _Quantised) -> str | None:
    """The product in float; None where it can't be one of integers: only columns may have scales of their own."""
    rank = len(graph.shape(node.input[1]) or ())
    attributes = attributes_of(node)
    transposed = bool(attributes.get("transB"))
    columns = rank - 2 if transposed else rank - 1
    if left.parameters != 1 or rank < 2 or (right.parameters != 1 and right.axis != columns):
        return None
    operands = [_integers(draft, left), _integers(draft, right)]
    if attributes.get("transA"):
        operands[0] = draft.add("Transpose", operands[0], perm=[1, 0])
    if transposed:
        operands[1] = draft.add("Transpose", operands[1], perm=[1, 0])
    total = draft.add("MatMulInteger", *operands, left.zero, right.zero)
    return draft.add("Mul", draft.add("Cast", total, to=TensorProto.FLOAT), _factor(draft, left, right, 1))


def _gemm(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    left, right = (_quantised(node.input[index], graph) for index in (0, 1))
    if left is None or right is None:
        return None
    draft, attributes = Draft(graph, node.output[0]), attributes_of(node)
    value = _matmul(draft, graph, node, left, right)
    if value is None:
        return None
    if attributes.get("alpha", 1.0) != 1.0:
        value = draft.add("Mul", value, draft.constant(np.float32(attributes["alpha"])))
    if len(node.input) > 2 and node.input[2]:
        bias = node.input[2]
        if attributes.get("beta", 1.0) != 1.0:
            bias = draft.add("Mul", bias, draft.constant(np.float32(attributes["beta"])))
        draft.add("Add", value, bias)
    return draft.ended()


REWRITES: dict[Key, Rewrite] = {
    ("", "Conv"): _convolution,
    ("", "MatMul"): _product,
    ("", "Gemm"): _gemm,
}
