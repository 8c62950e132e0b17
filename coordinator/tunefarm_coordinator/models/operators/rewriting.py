"""ONNX to ONNX before import: functions expanded, the families' rewrites applied until nothing changes."""

from collections.abc import Callable, Iterator

import onnx
from onnx import inliner

from tunefarm_coordinator.models.operators.families import EXPANDED, REWRITES
from tunefarm_coordinator.models.operators.family import Key, Unsupported, key_of
from tunefarm_coordinator.models.operators.functions import inlined
from tunefarm_coordinator.models.operators.graph import Graph

# A rewrite may leave what another one takes up; more passes than this would be two that undo each other.
_MOST_PASSES = 20


def expanded(model: onnx.ModelProto, kept: Callable[[Key], bool]) -> onnx.ModelProto:
    """The model without functions: its own, those of `EXPANDED`, and the standard's that are not `kept`."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    return inlined(model, lambda key: key in EXPANDED or not kept(key))


def rewritten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    """(the model after the families' rewrites, whether any applied).

    Raises:
        Unsupported: a rewrite refused its node; the message names both.
    """
    changed = False
    for _ in range(_MOST_PASSES):
        if not any(key_of(node) in REWRITES for node in model.graph.node):
            break
        model, again = _one_pass(model)
        if not again:
            break
        changed = True
    return model, changed


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from nodes_of(subgraph)


def place_of(node: onnx.NodeProto) -> str:
    """What a user knows the node by: its name, or else what it gives."""
    return str(node.name) or f"(output {', '.join(node.output)})"


def _one_pass(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = Graph(result)
    nodes: list[onnx.NodeProto] = []
    changed = False
    for node in model.graph.node:
        found = _replacement(node, graph)
        changed |= found is not None
        nodes += [node] if found is None else found
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result, changed


def _replacement(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    rewrite = REWRITES.get(key_of(node))
    if rewrite is None:
        return None
    try:
        found = rewrite(node, graph)
    except Unsupported as error:
        raise Unsupported(f"{node.op_type} at node {place_of(node)}: {error}") from error
    for index, new in enumerate(found or ()):
        new.name = new.name or (f"{node.name}/{index}" if node.name else "")
    return found
