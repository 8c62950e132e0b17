"""Normalisations with all of their outputs, in the precision that the node says (`stash_type`)."""

from typing import Any

import numpy as np
import onnx
from onnx import helper
from tvm import relax

from tunefarm_coordinator.models.constants import constant, static_shape
from tunefarm_coordinator.models.operators.arguments import axis_of, dtype_of, shape_of
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Rewrite, Unsupported, attributes_of
from tunefarm_coordinator.models.operators.graph import Graph

_WIDE = {0: "", 1: "float32", 11: "float64", 10: "float16", 16: "bfloat16"}
# TVM's own kernels of these take sums in float32 and go over their rows once; step by step, each sum ends a kernel.
_IN_ONE_KERNEL = ("float32", "float16")


def _layer(operator: Operator) -> Any:
    shape, axis = shape_of(operator), axis_of(operator, -1)
    axes = list(range(axis, len(shape)))
    scale, bias = operator.inputs[1], operator.input(2)
    epsilon = _epsilon(operator)
    wants_more = any(operator.node.output[1:])
    whole = static_shape(scale) == shape[axis:]
    if not wants_more and whole and dtype_of(operator) in _IN_ONE_KERNEL and _is_wide(operator):
        zeros = constant(np.zeros(shape[axis:], np.float32)) if bias is None else bias
        if bias is None or static_shape(bias) == shape[axis:]:
            return relax.op.nn.layer_norm(operator.inputs[0], scale, zeros, axes, epsilon)
    value = _widened(operator, operator.inputs[0])
    mean = operator.emit(relax.op.mean(value, axes, keepdims=True))
    centred = operator.emit(relax.op.subtract(value, mean))
    inverse = _inverse_deviation(operator, centred, axes, epsilon)
    normal = operator.emit(relax.op.multiply(centred, inverse))
    normal = operator.emit(relax.op.astype(normal, dtype_of(operator)))
    result = operator.emit(relax.op.multiply(normal, scale))
    if bias is not None:
        result = operator.emit(relax.op.add(result, bias))
    return [result, mean, inverse][: len(operator.node.output)]


def _root_mean_square(operator: Operator) -> Any:
    axis = axis_of(operator, -1)
    if _is_wide(operator):
        return by_root_mean_square(operator, operator.inputs[0], operator.inputs[1], axis)
    value = _widened(operator, operator.inputs[0])
    return _by_steps(operator, value, operator.inputs[1], axis, dtype_of(operator))


def by_root_mean_square(operator: Operator, value: Any, scale: Any, axis: int) -> Any:
    """`value`, a tensor of floats, divided by its root mean square over the axes from `axis` on, which is taken in
    float32, and multiplied by `scale`."""
    shape, dtype = tuple(int(size) for size in value.ty.shape.values), str(value.ty.dtype)
    axes = list(range(axis % len(shape), len(shape)))
    # TVM has no kernel for a single row, which nothing counts.
    if axes[0] > 0 and static_shape(scale) == shape[axes[0] :] and dtype in _IN_ONE_KERNEL:
        return relax.op.nn.rms_norm(value, scale, axes, _epsilon(operator))
    wide = value if dtype == "float32" else operator.emit(relax.op.astype(value, "float32"))
    return _by_steps(operator, wide, scale, axes[0], dtype)


def _by_steps(operator: Operator, value: Any, scale: Any, axis: int, dtype: str) -> Any:
    inverse = _inverse_deviation(operator, value, list(range(axis, len(value.ty.shape))), _epsilon(operator))
    normal = operator.emit(relax.op.multiply(value, inverse))
    return relax.op.multiply(operator.emit(relax.op.astype(normal, dtype)), scale)


def _epsilon(operator: Operator) -> float:
    return float(operator.attributes.get("epsilon", 1e-5))


def _inverse_deviation(operator: Operator, centred: Any, axes: list[int], epsilon: float) -> Any:
    squares = operator.emit(relax.op.multiply(centred, centred))
    variance = operator.emit(relax.op.mean(squares, axes, keepdims=True))
    shifted = operator.emit(relax.op.add(variance, relax.const(epsilon, str(variance.ty.dtype))))
    return operator.emit(relax.op.rsqrt(shifted))


def _is_wide(operator: Operator) -> bool:
    return int(operator.attributes.get("stash_type", 1)) == 1


def _widened(operator: Operator, value: Any) -> Any:
    wide = _WIDE.get(int(operator.attributes.get("stash_type", 1)), "float32")
    return operator.emit(relax.op.astype(value, wide)) if wide and wide != str(value.ty.dtype) else value


def _unit(operator: Operator) -> Any:
    """LpNormalization: by the length along an axis; a length of nothing gives nothing."""
    axis, value = axis_of(operator, -1), operator.inputs[0]
    if int(operator.attributes.get("p", 2)) == 1:
        length = operator.emit(relax.op.sum(operator.emit(relax.op.abs(value)), axis, keepdims=True))
    else:
        squares = operator.emit(relax.op.multiply(value, value))
        length = operator.emit(relax.op.sqrt(operator.emit(relax.op.sum(squares, axis, keepdims=True))))
    zero = relax.const(0, dtype_of(operator))
    quotient = operator.emit(relax.op.divide(value, length))
    return relax.op.where(operator.emit(relax.op.equal(length, zero)), zero, quotient)


def _dropout(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """What is dropped out of inference is nothing."""
    training = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.array(False)
    if training is None or training.any():
        return None
    nodes = [helper.make_node("Identity", [node.input[0]], [node.output[0]])]
    if len(node.output) > 1 and node.output[1]:
        shape = graph.shape(node.input[0])
        if shape is None:
            return None
        # In opset 7 to 9 the mask is of the data's type; nobody reads it there.
        mask = graph.add_constant(np.ones(shape, np.bool_), f"{node.output[1]}/ones")
        nodes.append(helper.make_node("Identity", [mask], [node.output[1]]))
    return nodes


def _batch(node: onnx.NodeProto, _: Graph) -> list[onnx.NodeProto] | None:
    if attributes_of(node).get("training_mode", 0):
        raise Unsupported("training_mode 1; export the model for inference")
    return None


REWRITES: dict[Key, Rewrite] = {("", "BatchNormalization"): _batch, ("", "Dropout"): _dropout}

CONVERSIONS: dict[Key, Conversion] = {
    ("", "LayerNormalization"): _layer,
    ("", "RMSNormalization"): _root_mean_square,
    ("", "LpNormalization"): _unit,
}
