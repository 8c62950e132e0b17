"""Which inputs' values a node depends on: sizes don't count, they are fixed."""

import re

import onnx

from tunefarm_coordinator.models.small_constants import KnownGraph, known_graph, subgraphs

_WHOLE = "iub"


def inputs_behind(known: KnownGraph, name: str, inputs: set[str]) -> list[str]:
    """The inputs, of those named, whose values decide the tensor `name`, nearest first."""
    found: list[str] = []
    seen, waiting = {name}, [name]
    while waiting:
        at = waiting.pop(0)
        if at in inputs:
            found.append(at)
        producer = known.producers.get(at)
        if producer is None or producer.op_type in ("Shape", "Size") or at in known.values:
            continue
        new = [each for each in producer.input if each and each not in seen]
        seen.update(new)
        waiting += new
    return found


def suspects(model: onnx.ModelProto, message: str) -> list[str]:
    """The inputs whose values may be why ONNX Runtime failed with `message`: those that reach the node which it names,
    integers first; all inputs where it names none."""
    known = known_graph(model)
    initializers = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in initializers]
    whole = {value.name for value in values if _is_whole(value)}
    node = _named_node(known, message)
    behind: list[str] = []
    for name in node.input if node is not None else ():
        behind += [each for each in inputs_behind(known, name, {value.name for value in values}) if each not in behind]
    behind = behind or [value.name for value in values]
    return [name for name in behind if name in whole] or behind


def _named_node(known: KnownGraph, message: str) -> onnx.NodeProto | None:
    named = re.search(r"Name:'([^']*)'", message)
    if named is None:
        return None
    nodes = (node for graph in subgraphs(known.graph) for node in graph.node)
    return next((node for node in nodes if node.name == named[1]), None)


def _is_whole(value: onnx.ValueInfoProto) -> bool:
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).kind in _WHOLE
