"""Values that a graph of static sizes decides by itself: constants, and what is computed from constants and sizes."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator

from tunefarm_coordinator.models.foreign import FOREIGN_FAILURES

Sizes = tuple[int | None, ...]

# Axes, bounds and offsets are small; tables and weights need not be looked at.
_MOST_ELEMENTS = 4096
# Sizes and constants follow from each other.
_MOST_ROUNDS = 4
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")


@dataclass(frozen=True)
class KnownGraph:
    """A graph with its functions inlined, and what is known of its tensors before it runs, subgraphs included.

    Attributes:
        sizes: by tensor; None for a size that nobody knows. Tensors of unknown rank are left out.
        values: of small constants, by tensor.
        producers: the node that makes a tensor.
    """

    graph: onnx.GraphProto
    sizes: dict[str, Sizes]
    values: dict[str, NDArray[Any]]
    producers: dict[str, onnx.NodeProto]


def known_graph(model: onnx.ModelProto) -> KnownGraph:
    """What is known of `model`, whose inputs have static sizes. Weights outside the file need not be loaded."""
    model = _inlined(without_weights(model))
    for _ in range(_MOST_ROUNDS):
        known = _known(_inferred(model))
        if not _fold(model, known.values):
            break
    return known


def _known(model: onnx.ModelProto) -> KnownGraph:
    graphs = list(subgraphs(model.graph))
    sizes = {value.name: size for graph in graphs for value in _infos(graph) if (size := _sizes(value)) is not None}
    sizes |= {t.name: tuple(t.dims) for graph in graphs for t in graph.initializer}
    producers = {name: node for graph in graphs for node in graph.node for name in node.output if name}
    values: dict[str, NDArray[Any]] = {}
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    for graph in graphs:
        _find_values(graph, sizes, values, opsets)
    return KnownGraph(model.graph, sizes, values, producers)


def _fold(model: onnx.ModelProto, values: dict[str, NDArray[Any]]) -> bool:
    """Puts constants in the place of nodes whose values are known, so that sizes can be inferred from them."""
    folded = [node for node in model.graph.node if node.output[0] in values]
    for node in folded:
        model.graph.node.remove(node)
        model.graph.initializer.append(numpy_helper.from_array(values[node.output[0]], node.output[0]))
    return bool(folded)


def subgraphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph itself, then those inside its nodes."""
    yield graph
    for node in graph.node:
        for inner in bodies(node):
            yield from subgraphs(inner)


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node runs (If, Loop, Scan)."""
    found = []
    for attribute in node.attribute:
        found += [attribute.g] if attribute.HasField("g") else []
        found += attribute.graphs
    return found


def attribute_of(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inputs in the place of its large initializers: shape inference copies what it is given."""
    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph = light.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    initializers = {t.name for t in model.graph.initializer}
    graph.input.extend(value for value in model.graph.input if value.name not in initializers)
    for tensor in model.graph.initializer:
        if _count(tensor.dims) <= _MOST_ELEMENTS and not _is_external(tensor):
            graph.initializer.append(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    if not model.functions:
        return model
    try:
        return inline_local_functions(model)
    except FOREIGN_FAILURES:
        return model


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except (*FOREIGN_FAILURES, shape_inference.InferenceError):
        return model


def _infos(graph: onnx.GraphProto) -> Iterable[onnx.ValueInfoProto]:
    return (*graph.input, *graph.value_info, *graph.output)


def _sizes(value: onnx.ValueInfoProto) -> Sizes | None:
    tensor_type = value.type.tensor_type
    if not tensor_type.HasField("shape"):
        return None
    return tuple(int(dim.dim_value) if dim.HasField("dim_value") else None for dim in tensor_type.shape.dim)


def _find_values(
    graph: onnx.GraphProto, sizes: dict[str, Sizes], values: dict[str, NDArray[Any]], opsets: dict[str, int]
) -> None:
    for tensor in graph.initializer:
        if _count(tensor.dims) <= _MOST_ELEMENTS and not _is_external(tensor):
            values[tensor.name] = numpy_helper.to_array(tensor)
    for node in graph.node:
        found = _value(node, sizes, values, opsets)
        if found is not None and found.size <= _MOST_ELEMENTS:
            values[node.output[0]] = found
            sizes.setdefault(node.output[0], found.shape)


def _value(
    node: onnx.NodeProto, sizes: dict[str, Sizes], values: dict[str, NDArray[Any]], opsets: dict[str, int]
) -> NDArray[Any] | None:
    """The value of the node's only output, where everything that it is computed from is known."""
    if node.op_type == "Shape" and (size := sizes.get(node.input[0])) is not None:
        window = size[attribute_of(node, "start", 0) : attribute_of(node, "end", len(size))]
        return None if None in window else np.array(window, np.int64)
    given = [values.get(name) for name in node.input if name]
    computable = len(node.output) == 1 and node.op_type not in _RANDOM and not bodies(node)
    if not computable or any(value is None for value in given) or not _is_small(node, sizes):
        return None
    feed = dict(zip([name for name in node.input if name], given, strict=True))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (result,) = ReferenceEvaluator(_alone(node, opsets)).run(None, feed)
    except FOREIGN_FAILURES:
        return None
    found = np.asarray(result) if isinstance(result, np.ndarray | np.generic) else None
    return found if found is not None and found.dtype.kind in "biuf" else None


def _is_small(node: onnx.NodeProto, sizes: dict[str, Sizes]) -> bool:
    """Not one that would make something large of something small, as far as is known."""
    size = sizes.get(node.output[0])
    return size is None or None in size or _count([s for s in size if s is not None]) <= _MOST_ELEMENTS


def _alone(node: onnx.NodeProto, opsets: dict[str, int]) -> onnx.ModelProto:
    names = dict.fromkeys(name for name in node.input if name)
    undefined = [onnx.helper.make_empty_tensor_value_info(name) for name in names]
    outputs = [onnx.helper.make_empty_tensor_value_info(node.output[0])]
    graph = onnx.helper.make_graph([node], "one", undefined, outputs)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return onnx.helper.make_model(graph, opset_imports=imports)


def _count(dims: Iterable[int]) -> int:
    count = 1
    for size in dims:
        count *= size
    return count


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)
