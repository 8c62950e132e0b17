"""How many steps a Loop takes, where that is known before the model runs.

It is given; or a condition ends the loop that counts by itself, as TensorFlow's `while` does, in a state of its own up
to a size. Such a condition is computed step by step, by ONNX's reference.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tunefarm_coordinator.models.operators.family import attributes_of
from tunefarm_coordinator.models.operators.graph import Graph

# Nodes of a condition, and elements of what it reads: counting, not what the loop is there for.
_MOST_NODES, _SMALL = 32, 4096


def steps_of(node: onnx.NodeProto, graph: Graph, most: int) -> int | None:
    """Steps of a Loop-11; None where they are not known, or more than `most`."""
    body = attributes_of(node)["body"]
    trips, begins = _given(node, 0, most + 1, graph), _given(node, 1, True, graph)
    if trips is None or begins is None:
        return None
    steps: int | None = int(trips) if begins else 0
    if begins and not _goes_on(body):
        steps = _counted(node, graph, min(int(trips), most + 1))
    return steps if steps is not None and steps <= most else None


def _given(node: onnx.NodeProto, place: int, default: Any, graph: Graph) -> Any | None:
    """The number at one of a Loop's first inputs, `default` where it is left out; None where it is not known."""
    if place >= len(node.input) or not node.input[place]:
        return default
    value = graph.constant(node.input[place])
    return None if value is None else value.item()


def _goes_on(body: onnx.GraphProto) -> bool:
    """Whether the condition that the body gives is the one that it got, or a constant that is true."""
    makers = {name: node for node in body.node for name in node.output}
    known = {it.name: it for it in body.initializer}
    name = body.output[0].name
    while name in makers and makers[name].op_type in ("Identity", "Cast"):
        name = makers[name].input[0]
    if name == body.input[1].name:
        return True
    maker = makers.get(name)
    tensor: Any = known.get(name)
    if maker is not None and maker.op_type == "Constant" and maker.attribute[0].HasField("t"):
        tensor = maker.attribute[0].t
    return tensor is not None and bool(numpy_helper.to_array(tensor).all())


def _counted(node: onnx.NodeProto, graph: Graph, most: int) -> int | None:
    """Steps until the body's condition is false, `most` where it stays true for so many; None where the model's inputs
    decide it."""
    found = _condition(node, graph)
    if found is None:
        return None
    step, states = found
    for count in range(most):
        try:
            goes, *values = step({**states, next(iter(states)): np.array(count)})
        except Exception:  # noqa: BLE001 - whatever the reference can't do is not known
            return None
        if not np.asarray(goes).all():
            return count + 1
        states = dict(zip(states, [np.array(count), *values], strict=True))
    return most


def _condition(
    node: onnx.NodeProto, graph: Graph
) -> tuple[Callable[[dict[str, Any]], list[Any]], dict[str, Any]] | None:
    """(what gives the condition, and the states that it depends on, after a step; the step's number and those states
    before the first one)."""
    body = attributes_of(node)["body"]
    number, *carried = (it.name for it in body.input)
    following = dict(zip(carried, (it.name for it in body.output), strict=False))
    begins = dict(zip(carried, [None, *node.input[2:]], strict=False))
    makers = {name: maker for maker in body.node for name in maker.output if name}
    inside = {it.name: it for it in body.initializer}
    wanted, known, states = [body.output[0].name], {}, {number: np.array(0)}
    needed: dict[str, onnx.NodeProto] = {}
    seen = {number}
    while wanted:
        name = wanted.pop()
        if not name or name in seen:
            continue
        seen.add(name)
        if name in makers:
            needed[makers[name].output[0]] = makers[name]
            wanted += makers[name].input
            continue
        value = _value(begins.get(name, name) if name in following else name, inside, graph)
        if value is None:
            return None
        if name in following:
            states[name] = value
            wanted.append(following[name])
        else:
            known[name] = value
    ordered = [it for it in body.node if it.output and it.output[0] in needed]
    if len(ordered) > _MOST_NODES or any(a.HasField("g") or a.graphs for it in ordered for a in it.attribute):
        return None
    outputs = [body.output[0].name, *(following[name] for name in list(states)[1:])]
    return _evaluator(ordered, known, list(states), outputs, graph.opset), states


def _value(name: str | None, inside: dict[str, onnx.TensorProto], graph: Graph) -> Any | None:
    """A small constant of the body or around it; of the condition at the beginning, that it is true."""
    if name is None:
        return np.array(True)
    value = numpy_helper.to_array(inside[name]) if name in inside else graph.constant(name)
    return None if value is None or prod(value.shape) > _SMALL else value


def _evaluator(
    nodes: list[onnx.NodeProto], known: dict[str, Any], inputs: list[str], outputs: list[str], opset: int
) -> Callable[[dict[str, Any]], list[Any]]:
    # It takes half a second to import, and many a model has no loop.
    from onnx.reference import ReferenceEvaluator

    graph = helper.make_graph(
        nodes,
        "condition",
        [helper.make_empty_tensor_value_info(name) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in known.items()],
    )
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))
    return lambda values: list(evaluator.run(None, values))
