"""What follows from sizes alone becomes constants, exactly as ONNX defines it.

onnxslim does the same with symbols, and is wrong where a slice reverses one of two axes (PyTorch's padding), so
nothing of it is left for onnxslim here.
"""

from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tunefarm_coordinator.models.operators.graph import Graph

# Elements of all that a node reads and gives: shape arithmetic, not weights.
_SMALL = 4096
# Each round knows more sizes than the one before; a network whose sizes take longer to be known is left as it is.
_MOST_ROUNDS = 12
_FROM_SHAPE = {"Shape", "Size"}
# No function of their inputs, or none that the standard's reference computes as a model does.
_NEVER = {
    "Constant",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "If",
    "Loop",
    "QuantizeLinear",
    "Scan",
    "SequenceMap",
}


def resolved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed in place: nodes that sizes and small constants decide are Constants; static shapes assumed."""
    for _ in range(_MOST_ROUNDS):
        if not _one_round(model):
            break
    return model


def _one_round(model: onnx.ModelProto) -> bool:
    graph = Graph(model)
    known: dict[str, Any] = {}
    nodes = []
    for node in model.graph.node:
        values = _values(node, graph, known, model)
        if values is None:
            nodes.append(node)
            continue
        outputs = [(name, value) for name, value in zip(node.output, values, strict=False) if name]
        known.update(outputs)
        for name, value in outputs:
            nodes.append(helper.make_node("Constant", [], [name], node.name, value=numpy_helper.from_array(value)))
    if not known:
        return False
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return True


def _values(node: onnx.NodeProto, graph: Graph, known: dict[str, Any], model: onnx.ModelProto) -> list[Any] | None:
    if node.domain not in ("", "ai.onnx") or node.op_type in _NEVER or node.op_type.startswith("Random"):
        return None
    if node.op_type in _FROM_SHAPE:
        shape = graph.shape(node.input[0])
        return None if shape is None else _of_shape(node, shape)
    if not node.input and node.op_type != "ConstantOfShape":
        return None
    names = [name for name in node.input if name]
    if not all(name in known or graph.is_constant(name) for name in names) or not _small(node, graph):
        return None
    inputs = {name: known[name] if name in known else graph.constant(name) for name in names}
    return _evaluated(node, inputs, model)


def _small(node: onnx.NodeProto, graph: Graph) -> bool:
    """A value whose sizes are not known yet may be a small one; a large one is found out by computing it."""
    shapes = [graph.shape(name) for name in (*node.input, *node.output) if name]
    return all(prod(shape) <= _SMALL for shape in shapes if shape is not None)


def _of_shape(node: onnx.NodeProto, shape: tuple[int, ...]) -> list[Any]:
    if node.op_type == "Size":
        return [np.array(prod(shape), np.int64)]
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    start, end = ends.get("start", 0), ends.get("end", len(shape))
    return [np.array(shape[slice(start, end)], np.int64)]


def _evaluated(node: onnx.NodeProto, inputs: dict[str, Any], model: onnx.ModelProto) -> list[Any] | None:
    """What ONNX's own reference gives; None where it has none, or the answer is no small tensor."""
    # It takes half a second to import, and many a model has no shape arithmetic.
    from onnx.reference import ReferenceEvaluator

    graph = helper.make_graph(
        [node],
        "node",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    single = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        with np.errstate(all="ignore"):
            values = ReferenceEvaluator(single).run(None, inputs)
    except Exception:  # noqa: BLE001 - whatever it can't do stays a node
        return None
    arrays = [np.asarray(value) for value in values]
    expected = len([name for name in node.output if name])
    if len(arrays) != expected or any(array.size > _SMALL or array.dtype == object for array in arrays):
        return None
    return _in_place(node, arrays)


def _in_place(node: onnx.NodeProto, arrays: list[Any]) -> list[Any]:
    """One for each name of the node, left-out ones included."""
    remaining = iter(arrays)
    return [next(remaining) if name else None for name in node.output]
