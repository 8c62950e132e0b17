"""Operators that ONNX defines by others, put in the place of their nodes.

`onnx.inliner` can do so by itself, but knows no types of initializers, fails on inputs that are left out, and forgets
the defaults of attributes: here each node gets the function that its types and attributes give, as one of the model's.
"""

from collections.abc import Callable, Iterator, Sequence

import onnx
from onnx import TypeProto, defs, inliner

from tunefarm_coordinator.models.operators.family import Key, key_of
from tunefarm_coordinator.models.operators.graph import Graph

_DOMAIN = "tunefarm.expanded"
# A body may hold operators that have bodies themselves.
_DEEPEST = 8


def inlined(model: onnx.ModelProto, wanted: Callable[[Key], bool]) -> onnx.ModelProto:
    """The model without nodes of `wanted` operators that the standard gives a body for, subgraphs included."""
    for _ in range(_DEEPEST):
        again = _one_level(model, wanted)
        if again is None:
            break
        model = again
    return model


def has_body(key: Key, versions: dict[str, int]) -> bool:
    """Whether the standard defines the operator by others."""
    schema = _schema(key, versions)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def _one_level(model: onnx.ModelProto, wanted: Callable[[Key], bool]) -> onnx.ModelProto | None:
    versions = {"" if it.domain == "ai.onnx" else it.domain: it.version for it in model.opset_import}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = Graph(result)
    functions: list[onnx.FunctionProto] = []
    for node in _nodes(result.graph):
        key = key_of(node)
        if not wanted(key) or not has_body(key, versions):
            continue
        function = _function(node, graph, versions)
        if function is None:
            continue
        function.name, function.domain = f"{node.op_type}_{len(functions)}", _DOMAIN
        node.op_type, node.domain = function.name, _DOMAIN
        functions.append(function)
    if not functions:
        return None
    result.opset_import.add(domain=_DOMAIN, version=1)
    result.functions.extend(functions)
    known = {it.domain for it in result.opset_import}
    for domain in {it.domain for function in functions for it in function.opset_import} - known:
        result.opset_import.add(domain=domain, version=1)
    done: onnx.ModelProto = inliner.inline_local_functions(result)
    kept = [it for it in done.opset_import if it.domain != _DOMAIN]
    del done.opset_import[:]
    done.opset_import.extend(kept)
    return done


def _function(node: onnx.NodeProto, graph: Graph, versions: dict[str, int]) -> onnx.FunctionProto | None:
    """The node's body, at the model's version of the standard; defaults of attributes that it reads are set."""
    schema = _schema(key_of(node), versions)
    assert schema is not None
    for name, attribute in schema.attributes.items():
        if attribute.default_value.name and name not in {given.name for given in node.attribute}:
            node.attribute.append(attribute.default_value)
    version = versions.get("", 1)
    content = b""
    if schema.has_context_dependent_function:
        at = _newest(schema.context_dependent_function_opset_versions, version)
        types = [_type(name, graph).SerializeToString() for name in node.input]
        content = schema.get_context_dependent_function_with_opset_version(at, node.SerializeToString(), types)
    if not content and schema.has_function:
        content = schema.get_function_with_opset_version(_newest(schema.function_opset_versions, version))
    if not content:
        return None
    function = onnx.FunctionProto.FromString(content)
    others = [it for it in function.opset_import if it.domain not in ("", "ai.onnx")]
    del function.opset_import[:]
    function.opset_import.extend(others)
    function.opset_import.add(domain="", version=version)
    return function


def _newest(offered: Sequence[int], version: int) -> int:
    return max((it for it in offered if it <= version), default=min(offered))


def _type(name: str, graph: Graph) -> TypeProto:
    """Empty for an input that is left out, or of which nothing is known."""
    found = TypeProto()
    dtype = graph.dtype(name) if name else None
    if dtype is not None:
        found.tensor_type.elem_type = dtype
        shape = graph.shape(name)
        if shape is not None:
            found.tensor_type.shape.SetInParent()
            for size in shape:
                found.tensor_type.shape.dim.add().dim_value = size
    return found


def _schema(key: Key, versions: dict[str, int]) -> defs.OpSchema | None:
    domain, name = key
    try:
        return defs.get_schema(name, versions.get(domain, 1), domain)
    except defs.SchemaError:
        return None


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _nodes(subgraph)
