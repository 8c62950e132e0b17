"""A model whose end can't be compiled, cut in two: a network that is tuned, and a tail that stays ONNX.

Detectors end in NonMaxSuppression, decoders in a Loop, classifiers of tables in a map of labels: their sizes depend on
values, or they are no tensors. What such nodes give, and all that follows from it, becomes the tail; ONNX Runtime runs
it after the compiled network. A tail has nothing in it that is worth tuning, or the model is refused.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx
from onnx import shape_inference

from tunefarm_coordinator.models.operators.rewriting import place_of

# What a network is made of; with such an operator after the cut, the tail would be where the time goes.
_PRODUCTS = frozenset(
    {"Attention", "Conv", "ConvInteger", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul", "MatMulInteger"}
    | {"MultiHeadAttention", "QGemm", "QLinearConv", "QLinearMatMul", "RNN"}
)


class NoCut(Exception):
    """The model can't be cut there; the message says why, and is empty where that would tell a user nothing: the model
    has no network before, or no such node."""


@dataclass(frozen=True)
class CutModel:
    """Both parts of a model.

    Attributes:
        network: takes the model's inputs, all of them; gives `values`.
        tail: takes those of `values` and of the model's inputs that it reads; gives the outputs that `network` lacks.
        values: the network's outputs: the model's own that it computes, then what the tail reads.
        places: the nodes that were cut at, with their operators, as a user knows them.
    """

    network: onnx.ModelProto
    tail: onnx.ModelProto
    values: tuple[str, ...]
    places: tuple[str, ...]


def cut(model: onnx.ModelProto, stays_onnx: Callable[[onnx.NodeProto], bool]) -> CutModel:
    """The model cut before the nodes that `stays_onnx` names.

    Args:
        model: its own functions expanded; nodes in topological order, as ONNX demands.

    Raises:
        NoCut: no such node; nothing worth tuning before them, or something after them.
    """
    graph = model.graph
    constant = _constant_nodes(graph)
    late, first = _tail_nodes(graph, stays_onnx)
    network = [node for index, node in enumerate(graph.node) if index not in late]
    tail = [node for index, node in enumerate(graph.node) if index in late]
    places = tuple(f"{node.op_type} at node {place_of(node)}" for node in first)
    _check(network, tail, first)
    given = {name for node in network for name in node.output if name} | {value.name for value in graph.input}
    fixed = {name for index in constant for name in graph.node[index].output} | {it.name for it in graph.initializer}
    read = {name for node in tail for name in _reads(node)}
    outputs = [value.name for value in graph.output]
    inputs = {value.name for value in graph.input}
    own = [name for name in outputs if name in given]
    handed = sorted((read & given) - fixed - inputs - set(own))
    typed = _types(model)
    network_model = _part(model, network, graph.input, [typed[name] for name in (*own, *handed)])
    tail_inputs = [typed[name] for name in (*own, *handed) if name in read]
    tail_inputs += [value for value in graph.input if value.name in read]
    needed = [graph.node[index] for index in sorted(constant - late)]
    tail_outputs = [value for value in graph.output if value.name not in given]
    tail_model = _part(model, [*needed, *tail], tail_inputs, tail_outputs)
    return CutModel(network_model, tail_model, (*own, *handed), places)


def _constant_nodes(graph: onnx.GraphProto) -> set[int]:
    """Nodes that follow from constants alone: each part has its own copy."""
    known = {tensor.name for tensor in graph.initializer}
    found = set()
    for index, node in enumerate(graph.node):
        if _reads(node) <= known:
            found.add(index)
            known |= set(node.output)
    return found


def _tail_nodes(
    graph: onnx.GraphProto, stays_onnx: Callable[[onnx.NodeProto], bool]
) -> tuple[set[int], list[onnx.NodeProto]]:
    """(nodes of the tail by place in the graph, the ones that begin it)."""
    late: set[int] = set()
    first = []
    tainted: set[str] = set()
    for index, node in enumerate(graph.node):
        follows = bool(_reads(node) & tainted)
        if follows or stays_onnx(node):
            late.add(index)
            tainted |= {name for name in node.output if name}
            first += [] if follows else [node]
    return late, first


def _check(network: list[onnx.NodeProto], tail: list[onnx.NodeProto], first: list[onnx.NodeProto]) -> None:
    if not first or not any(node.op_type in _PRODUCTS for node in network):
        raise NoCut("")
    late = next((node for node in tail if node.op_type in _PRODUCTS), None)
    if late is not None:
        raise NoCut(f"{late.op_type} at {place_of(late)} comes after it, where the time would go")


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, those that its subgraphs take from outside included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            names |= _free_names(inner)
    return names


def _free_names(graph: onnx.GraphProto) -> set[str]:
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own |= {name for node in graph.node for name in node.output}
    read = {name for node in graph.node for name in _reads(node)} | {value.name for value in graph.output}
    return read - own


def _types(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    return {value.name: value for value in (*inferred.value_info, *inferred.output, *inferred.input)}


def _part(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.input[:], part.graph.output[:], part.graph.value_info[:]
    part.graph.input.extend(inputs)
    part.graph.output.extend(outputs)
    part.graph.node.extend(_needed(list(nodes), {value.name for value in part.graph.output}))
    read = {name for node in part.graph.node for name in _reads(node)} | {value.name for value in part.graph.output}
    kept = [tensor for tensor in part.graph.initializer if tensor.name in read]
    del part.graph.initializer[:]
    part.graph.initializer.extend(kept)
    return part


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """Those of `nodes` that `wanted` depends on."""
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted = wanted | _reads(node)
    return kept[::-1]
