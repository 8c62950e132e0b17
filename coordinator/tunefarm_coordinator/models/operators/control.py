"""Control flow in a graph without any: a branch that is known is put in its place, short loops are unrolled. Of a
branch that is decided while the model runs both are there, and a choice between what they give (`choices`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tvm import relax

from tunefarm_coordinator.models.choices import choice
from tunefarm_coordinator.models.constants import is_constant, static_shape
from tunefarm_coordinator.models.operators.family import (
    Conversion,
    Key,
    Operator,
    Rewrite,
    Unsupported,
    attributes_of,
)
from tunefarm_coordinator.models.operators.graph import Graph
from tunefarm_coordinator.models.operators.trip_counts import steps_of

# Every step is a copy of the body, and compiled as one.
_MOST_STEPS = 64
# The standard's operator stands for a choice between branches, so that its types are inferred; by this name.
_CHOICE = "tunefarm.choice/"


def _if(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    condition = graph.constant(node.input[0])
    if condition is None:
        return _both(node, graph)
    branch = attributes_of(node)["then_branch" if condition.reshape(-1)[0] else "else_branch"]
    nodes, names = _placed(branch, {}, f"{node.output[0]}/branch", graph)
    return [*nodes, *_passed_on([names[it.name] for it in branch.output], node.output)]


def _both(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """Both branches, and of each output a choice. None where they give no tensors, or may give different sizes; what
    holds branches itself is placed so that these can be decided, and refused later if its sizes differ then."""
    nodes: list[onnx.NodeProto] = []
    results: list[list[str]] = []
    nested = False
    for name in ("then_branch", "else_branch"):
        branch = attributes_of(node)[name]
        inside, names = _placed(branch, {}, f"{node.output[0]}/{name}", graph)
        nodes += inside
        results.append([names[it.name] for it in branch.output])
        nested |= any(it.op_type == "If" for it in branch.node)
        if any(it.type.WhichOneof("value") not in (None, "tensor_type") for it in branch.output):
            return None
    pairs = list(zip(*(graph.types_of(names, nodes) for names in results), strict=True))
    if any(one != other if one and other else not nested for one, other in pairs):
        return None
    scalar = graph.fresh(f"{node.output[0]}/condition")
    no_axes = graph.add_constant(np.array([], np.int64), f"{scalar}/axes")
    choices = [
        helper.make_node("Where", [scalar, one, other], [output], name=f"{_CHOICE}{output}")
        for one, other, output in zip(*results, node.output, strict=True)
    ]
    return [*nodes, helper.make_node("Reshape", [node.input[0], no_axes], [scalar]), *choices]


def _where(operator: Operator) -> Any:
    if not operator.node.name.startswith(_CHOICE):
        return None
    condition, one, other = operator.inputs
    if is_constant(condition):
        return one if condition.value.numpy().all() else other
    if not all(isinstance(it.ty, relax.TensorType) for it in (one, other)):
        raise Unsupported("its branches give sizes, which depend on values then")
    if static_shape(one) is None or static_shape(one) != static_shape(other) or one.ty.dtype != other.ty.dtype:
        raise Unsupported("its branches give different sizes")
    return choice(operator.builder, condition, one, other)


def _scan(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """Scan-9: states from step to step, a slice of each sequence to every step, results stacked."""
    attributes = attributes_of(node)
    sequences = int(attributes["num_scan_inputs"])
    if graph.opset < 9 or not sequences:
        return None
    states, given = list(node.input[: len(node.input) - sequences]), list(node.input[len(node.input) - sequences :])
    axes = attributes.get("scan_input_axes") or [0] * sequences
    shapes = [graph.shape(name) for name in given]
    if any(shape is None for shape in shapes):
        return None
    steps = (shapes[0] or ())[axes[0]]
    if not 0 < steps <= _MOST_STEPS:
        return None
    backward = attributes.get("scan_input_directions") or [0] * sequences
    body, nodes = attributes["body"], []
    results: list[list[str]] = [[] for _ in range(len(body.output) - len(states))]
    for step in range(steps):
        slices = []
        for name, axis, turned in zip(given, axes, backward, strict=True):
            place = graph.add_constant(np.array(steps - 1 - step if turned else step), f"{node.output[0]}/step")
            slices.append(graph.fresh(f"{name}/{step}"))
            nodes.append(helper.make_node("Gather", [name, place], [slices[-1]], axis=int(axis)))
        inputs = dict(zip((it.name for it in body.input), [*states, *slices], strict=True))
        placed = _placed(body, inputs, f"{node.output[0]}/{step}", graph)
        nodes += placed[0]
        outputs = [placed[1][it.name] for it in body.output]
        states = outputs[: len(states)]
        for collected, name in zip(results, outputs[len(states) :], strict=True):
            collected.append(name)
    turned_round = attributes.get("scan_output_directions") or [0] * len(results)
    at = attributes.get("scan_output_axes") or [0] * len(results)
    for collected, name, turned, axis in zip(results, node.output[len(states) :], turned_round, at, strict=True):
        nodes += _stacked(collected[::-1] if turned else collected, name, int(axis), graph)
    return [*nodes, *_passed_on(states, node.output)]


def _loop(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """Loop-11 of a known number of steps."""
    body, states = attributes_of(node)["body"], list(node.input[2:])
    steps = steps_of(node, graph, _MOST_STEPS)
    if not steps:
        return None
    true = graph.add_constant(np.array(True), f"{node.output[0]}/true")
    nodes: list[onnx.NodeProto] = []
    results: list[list[str]] = [[] for _ in range(len(body.output) - 1 - len(states))]
    for step in range(steps):
        count = graph.add_constant(np.array(step), f"{node.output[0]}/step")
        inputs = dict(zip((it.name for it in body.input), [count, true, *states], strict=True))
        placed = _placed(body, inputs, f"{node.output[0]}/{step}", graph)
        nodes += placed[0]
        outputs = [placed[1][it.name] for it in body.output][1:]
        states = outputs[: len(states)]
        for collected, name in zip(results, outputs[len(states) :], strict=True):
            collected.append(name)
    for collected, name in zip(results, node.output[len(states) :], strict=False):
        nodes += _stacked(collected, name, 0, graph)
    return [*nodes, *_passed_on(states, node.output)]


def _placed(
    body: onnx.GraphProto, inputs: dict[str, str], prefix: str, graph: Graph
) -> tuple[list[onnx.NodeProto], dict[str, str]]:
    """(the body's nodes under names of their own, the new name of each of its values). What the body takes from around
    it keeps its name."""
    names = dict(inputs)
    for tensor in body.initializer:
        names[tensor.name] = graph.add_constant(numpy_helper.to_array(tensor), f"{prefix}/{tensor.name}")
    nodes = []
    for node in body.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        del new.input[:], new.output[:]
        new.input.extend(names.get(name, name) for name in node.input)
        for inner in _bodies(new):
            _rename(inner, names)
        for name in node.output:
            names[name] = graph.fresh(f"{prefix}/{name}") if name else ""
            new.output.append(names[name])
        nodes.append(new)
    for value in body.output:
        names.setdefault(value.name, value.name)
    return nodes, names


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [graph for it in node.attribute for graph in (*([it.g] if it.HasField("g") else []), *it.graphs)]


def _rename(body: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Gives what the body takes from around it its new name there."""
    own = {it.name for it in (*body.input, *body.initializer)} | {name for node in body.node for name in node.output}
    around = {name: new for name, new in names.items() if name not in own}
    for node in body.node:
        renamed = [around.get(name, name) for name in node.input]
        del node.input[:]
        node.input.extend(renamed)
        for inner in _bodies(node):
            _rename(inner, around)
    for value in body.output:
        value.name = around.get(value.name, value.name)


def _passed_on(names: list[str], outputs: Any) -> list[onnx.NodeProto]:
    pairs = zip(names, outputs, strict=False)
    return [helper.make_node("Identity", [name], [output]) for name, output in pairs if output]


def _stacked(names: list[str], output: str, axis: int, graph: Graph) -> list[onnx.NodeProto]:
    if not output:
        return []
    apart = [graph.fresh(f"{name}/apart") for name in names]
    nodes = []
    place = graph.add_constant(np.array([axis]), f"{output}/axis")
    for name, wide in zip(names, apart, strict=True):
        if graph.opset >= 13:
            nodes.append(helper.make_node("Unsqueeze", [name, place], [wide]))
        else:
            nodes.append(helper.make_node("Unsqueeze", [name], [wide], axes=[axis]))
    return [*nodes, helper.make_node("Concat", apart, [output], axis=axis)]


CONVERSIONS: dict[Key, Conversion] = {("", "Where"): _where}
REWRITES: dict[Key, Rewrite] = {("", "If"): _if, ("", "Loop"): _loop, ("", "Scan"): _scan}
