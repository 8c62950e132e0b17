"""Operators that are a few of the standard's in one: what ONNX Runtime's optimiser leaves in a file that it saves
(domain com.microsoft), and the linear ones of scikit-learn's exporter (domain ai.onnx.ml)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tunefarm_coordinator.models.operators.family import Key, Rewrite, attributes_of
from tunefarm_coordinator.models.operators.graph import Graph

_MICROSOFT, _ML = "com.microsoft", "ai.onnx.ml"
# By activation, the attributes that its numbers are.
_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
}
# Clip takes its bounds as inputs since then.
_CLIP_WITH_INPUTS = 11


def _conv(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """A convolution, perhaps a sum with a fourth input, an activation."""
    attributes = attributes_of(node)
    activation, numbers = attributes.pop("activation", ""), attributes.pop("activation_params", [])
    operands, added = list(node.input[:3]), next(iter(node.input[3:]), "")
    total = graph.fresh(f"{node.output[0]}/conv")
    result = graph.fresh(f"{node.output[0]}/sum") if added else total
    last = _activated(activation, numbers, result, node.output[0], graph)
    if last is None:
        return None
    nodes = [helper.make_node("Conv", operands, [total], node.name, **attributes)]
    return [*nodes, *([helper.make_node("Add", [total, added], [result])] if added else []), last]


def _gemm(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    attributes = attributes_of(node)
    activation = attributes.pop("activation", "")
    given = [attributes.pop(f"activation_{name}", None) for name in ("alpha", "beta", "gamma")]
    product = graph.fresh(f"{node.output[0]}/product")
    last = _activated(activation, [it for it in given if it is not None], product, node.output[0], graph)
    return None if last is None else [helper.make_node("Gemm", node.input, [product], node.name, **attributes), last]


def _activated(name: str, numbers: Sequence[float], value: str, output: str, graph: Graph) -> onnx.NodeProto | None:
    """The node of an activation; None where it is none that is known. Numbers that are left out are the standard's."""
    if not name:
        return helper.make_node("Identity", [value], [output])
    if name == "Clip" and len(numbers) == 2 and graph.opset >= _CLIP_WITH_INPUTS:
        bounds = [graph.add_constant(np.array(it, np.float32), f"{output}/bound") for it in numbers]
        return helper.make_node("Clip", [value, *bounds], [output])
    if name not in _ACTIVATIONS:
        return None
    return helper.make_node(name, [value], [output], **dict(zip(_ACTIVATIONS[name], numbers, strict=False)))


def _scaler(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """(x - offset) * scale, of whatever numbers, in float32."""
    attributes = attributes_of(node)
    cast, value = _floats(node, graph)
    offset, scale = (
        graph.add_constant(np.array(attributes.get(name, [number]), np.float32), f"{node.output[0]}/{name}")
        for name, number in (("offset", 0.0), ("scale", 1.0))
    )
    moved = graph.fresh(f"{node.output[0]}/moved")
    return [
        cast,
        helper.make_node("Sub", [value, offset], [moved], node.name),
        helper.make_node("Mul", [moved, scale], [node.output[0]]),
    ]


def _linear(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """A product with coefficients, a row of them for each target, and intercepts."""
    attributes = attributes_of(node)
    if attributes.get("post_transform", "NONE") != "NONE":
        return None
    rows: Any = np.array(attributes["coefficients"], np.float32).reshape(int(attributes.get("targets", 1)), -1)
    cast, value = _floats(node, graph)
    weights = graph.add_constant(rows.T.copy(), f"{node.output[0]}/coefficients")
    product = graph.fresh(f"{node.output[0]}/product")
    shift = np.array(attributes.get("intercepts", [0.0]), np.float32)
    intercepts = graph.add_constant(shift, f"{node.output[0]}/intercepts")
    return [
        cast,
        helper.make_node("MatMul", [value, weights], [product], node.name),
        helper.make_node("Add", [product, intercepts], [node.output[0]]),
    ]


def _floats(node: onnx.NodeProto, graph: Graph) -> tuple[onnx.NodeProto, str]:
    value = graph.fresh(f"{node.output[0]}/floats")
    return helper.make_node("Cast", [node.input[0]], [value], to=onnx.TensorProto.FLOAT), value


REWRITES: dict[Key, Rewrite] = {
    (_MICROSOFT, "FusedConv"): _conv,
    (_MICROSOFT, "FusedGemm"): _gemm,
    (_ML, "LinearRegressor"): _linear,
    (_ML, "Scaler"): _scaler,
}
