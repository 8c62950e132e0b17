"""ONNX graph work before import: static shapes, simplification, and which operators can't be imported."""

import logging
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
from onnx import shape_inference
from onnx.external_data_helper import load_external_data_for_model

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.foreign import FOREIGN_FAILURES
from tunefarm_coordinator.models.onnx_file import read_signature
from tunefarm_coordinator.models.operators.family import Key, key_of
from tunefarm_coordinator.models.operators.rewriting import nodes_of, place_of
from tunefarm_coordinator.models.small_constants import without_weights

# Which operator ONNX's inference of sizes fails at, and why.
_FAULT = re.compile(r"\(op_type:(?P<operator>\w+)[^)]*\): \[(?:Shape|Type)InferenceError\] (?P<reason>[^\n]+)")

logger = logging.getLogger(__name__)


def load_static(path: Path, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The model with its weights, input sizes set to `shapes`, initializers no longer listed as inputs.

    Raises:
        InvalidInput: as `read_signature` does; a node reads what nothing gives.
    """
    read_signature(path)
    model = onnx.load(path, load_external_data=False)
    _check_names(path, model.graph, set())
    load_external_data_for_model(model, str(path.parent))
    return with_sizes(model, shapes)


def with_sizes(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The same model, its input sizes set to `shapes`, initializers no longer listed as inputs."""
    initializers = {t.name for t in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        del dims[:]
        for size in shapes[value.name]:
            dims.add().dim_value = size
    for value in model.graph.output:
        # What exporters say of outputs may be of other inputs, or plainly wrong; inference would believe it.
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return model


def _check_names(path: Path, graph: onnx.GraphProto, outside: set[str]) -> None:
    """Raises InvalidInput for the first node that reads a value which nothing before it gives."""
    known = outside | {value.name for value in (*graph.input, *graph.initializer)}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                later = next((other for other in graph.node if name in other.output), None)
                reason = (
                    f"only {place_of(later)} gives, after it: nodes in a circle, or out of order"
                    if later
                    else ("no input, weight or node gives")
                )
                raise InvalidInput(f"{path}: {node.op_type} at node {place_of(node)} reads {name!r}, which {reason}")
        for attribute in node.attribute:
            for subgraph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                _check_names(path, subgraph, known)
        known |= set(node.output)
    for value in graph.output:
        if value.name not in known:
            raise InvalidInput(f"{path}: output {value.name!r} is given by no node")


def sizes_fault(model: onnx.ModelProto, node: onnx.NodeProto | None) -> str:
    """What ONNX itself has against the sizes of a node's inputs; empty where it has nothing. Static shapes."""
    if node is None:
        return ""
    try:
        shape_inference.infer_shapes(without_weights(model), check_type=True, strict_mode=True, data_prop=True)
    except (*FOREIGN_FAILURES, shape_inference.InferenceError) as error:
        found = _FAULT.search(str(error))
        if found and found["operator"] == node.op_type:
            return found["reason"].strip()
    return ""


# A product and the sum after it stay as they are: as one Gemm, which has two axes, they come between reshapes, and what
# follows (a residual, an activation) no longer fuses into the product.
_KEPT = ["FusionGemm"]


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded, shape arithmetic resolved, batch norm folded into convolutions (onnxslim).

    A graph that the simplifier can't handle is returned as it was: import may still serve it. Inputs that nothing reads
    stay inputs: whoever runs the model passes them.
    """
    # It brings SymPy with it: a second that who only packages need not wait for.
    import onnxslim

    original = onnx.ModelProto()
    original.CopyFrom(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            slim = onnxslim.slim(model, skip_fusion_patterns=_KEPT)
    except FOREIGN_FAILURES as error:
        logger.warning("simplification failed, going on without it: %s", error)
        return original
    if not isinstance(slim, onnx.ModelProto):
        return original
    del slim.graph.input[:]
    slim.graph.input.extend(original.graph.input)
    return slim


class Unimportable(InvalidInput):
    """Nodes that can't become Relax; the message names them all. `nodes`: as they stand in the graph by then."""

    def __init__(self, message: str, nodes: Sequence[onnx.NodeProto]) -> None:
        super().__init__(message)
        self.nodes = tuple(nodes)

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str]]:
        """In another process it is what it says: nodes are of use here alone."""
        return InvalidInput, (str(self),)


def unsupported(model: onnx.ModelProto, importable: Callable[[Key], bool]) -> list[onnx.NodeProto]:
    """Every node, subgraphs included, whose operator is not `importable`."""
    return [node for node in nodes_of(model.graph) if not importable(key_of(node))]


def refuse_unsupported(path: Path, found: Sequence[onnx.NodeProto]) -> None:
    """Raises Unimportable that names every operator in `found` with its nodes; nothing if there is none."""
    if not found:
        return
    places: dict[str, list[str]] = {}
    for node in found:
        operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        places.setdefault(operator, []).append(place_of(node))
    listed = "; ".join(f"{operator} at {', '.join(names)}" for operator, names in places.items())
    raise Unimportable(f"{path}: operators that can't be imported: {listed}", found)
