"""Normalisations that an exporter wrote out step by step, as all did before opset 17, put together again.

Step by step, each sum ends a kernel, and a row is read from memory for each; together they are one kernel. What the row
is multiplied by and what is added stays as it is, and is fused into that kernel. Only along the last axis: means over
an image's places lie between convolutions, whose layout their steps follow and a kernel of rows would not.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from tunefarm_coordinator.models.operators.family import Key, Rewrite, attributes_of
from tunefarm_coordinator.models.operators.graph import Graph

_DTYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


@dataclass(frozen=True)
class _Norm:
    """`value` less its mean, where `centres`, over its root mean square: along the last axis."""

    value: str
    epsilon: float
    centres: bool


def _quotient(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """a / sqrt(mean(a * a) + epsilon)"""
    return _replaced(node, graph, node.input[0], node.input[1])


def _product(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """a * (1 / sqrt(mean(a * a) + epsilon)), either way round"""
    for value, other in (tuple(node.input), tuple(node.input)[::-1]):
        by = graph.producer(other)
        if by is None:
            continue
        root = by.input[0] if by.op_type == "Reciprocal" else ""
        if by.op_type == "Div" and _number(by.input[0], graph) == 1:
            root = by.input[1]
        if root and (found := _replaced(node, graph, value, root)) is not None:
            return found
    return None


def _replaced(node: onnx.NodeProto, graph: Graph, value: str, root: str) -> list[onnx.NodeProto] | None:
    norm = _norm(graph, value, root)
    if norm is None:
        return None
    shape, dtype = graph.shape(norm.value), graph.dtype(norm.value)
    if shape is None or graph.shape(node.output[0]) != shape or dtype not in _DTYPES or 0 in shape:
        return None
    graph.keep_type(node.output[0])
    ones = graph.add_constant(np.ones(shape[-1:], _DTYPES[dtype]), f"{node.output[0]}/scale")
    name = "LayerNormalization" if norm.centres else "RMSNormalization"
    return [helper.make_node(name, [norm.value, ones], [node.output[0]], node.name, axis=-1, epsilon=norm.epsilon)]


def _norm(graph: Graph, value: str, root: str) -> _Norm | None:
    sqrt = graph.producer(root)
    total = graph.producer(sqrt.input[0]) if sqrt is not None and sqrt.op_type == "Sqrt" else None
    if total is None or total.op_type != "Add":
        return None
    for mean, epsilon in (tuple(total.input), tuple(total.input)[::-1]):
        number = _number(epsilon, graph)
        if number is not None and _is_mean_square(graph, mean, value):
            centred = _centred(graph, value)
            return _Norm(value if centred is None else centred, number, centred is not None)
    return None


def _is_mean_square(graph: Graph, mean: str, value: str) -> bool:
    squares = _averaged(graph, mean)
    square = None if squares is None else graph.producer(squares)
    if square is None:
        return False
    if square.op_type == "Pow":
        return bool(square.input[0] == value) and _number(square.input[1], graph) == 2
    return bool(square.op_type == "Mul") and list(square.input) == [value, value]


def _centred(graph: Graph, value: str) -> str | None:
    """What `value` is without its mean; None where it is something else."""
    difference = graph.producer(value)
    if difference is None or difference.op_type != "Sub":
        return None
    whole, mean = difference.input
    return str(whole) if _averaged(graph, mean) == whole else None


def _averaged(graph: Graph, mean: str) -> str | None:
    """What `mean` is the mean of, along the last axis, which is kept; None where it is something else."""
    node = graph.producer(mean)
    if node is None or node.op_type != "ReduceMean":
        return None
    shape, attributes = graph.shape(node.input[0]), attributes_of(node)
    axes = attributes.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = graph.constant(node.input[1])
    if shape is None or axes is None or not attributes.get("keepdims", 1):
        return None
    return str(node.input[0]) if [int(axis) % len(shape) for axis in axes] == [len(shape) - 1] else None


def _number(name: str, graph: Graph) -> float | None:
    value = graph.constant(name)
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


REWRITES: dict[Key, Rewrite] = {("", "Div"): _quotient, ("", "Mul"): _product}
