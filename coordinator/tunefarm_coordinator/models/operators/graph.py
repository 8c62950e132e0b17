"""What a rewrite may know of the graph around its node: constants, types, free names."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

# Elements of a constant that inference may want to read: sizes, axes, pads.
_SMALL = 1024


# A tensor's dtype (`onnx.TensorProto.DataType`) and sizes.
Type = tuple[int, tuple[int, ...]]


class Graph:
    """A static-shaped ONNX model while its nodes are rewritten, one pass of them.

    Attributes:
        opset: version of the standard's operators.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.opset = max((it.version for it in model.opset_import if it.domain in ("", "ai.onnx")), default=1)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constants |= {node.output[0]: node.attribute[0].t for node in model.graph.node if _holds_tensor(node)}
        self._types = _types(model)
        self._names = _names(model.graph)
        self._outputs = {value.name for value in model.graph.output}
        self._producers = {name: node for node in model.graph.node for name in node.output if name}

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value, where it is known before the model runs."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def is_constant(self, name: str) -> bool:
        """Whether `constant` knows the value; costs nothing, however large it is."""
        return name in self._constants

    def dtype(self, name: str) -> int | None:
        """`onnx.TensorProto.DataType` of a value; None where it is not known."""
        found = self._types.get(name)
        return found.elem_type or None if found else None

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Sizes of a value in elements; None where one of them is not known."""
        found = self._types.get(name)
        return None if found is None else _sizes(found)

    def types_of(self, names: Sequence[str], nodes: Sequence[onnx.NodeProto]) -> list[Type | None]:
        """Of each value the dtype and sizes that it would have if these nodes stood at the graph's end; None where
        they are not known, or it is no tensor."""
        found = _types(self._model, nodes)
        return [_static(found[name]) if name in found else None for name in names]

    def keep_type(self, name: str) -> None:
        """Writes down a value's type, for the passes after this one: of operators that the model's opset does not have,
        inference tells none."""
        found = self._types.get(name)
        if found is not None and name not in self._outputs:
            kept = [value for value in self._model.graph.value_info if value.name != name]
            del self._model.graph.value_info[:]
            self._model.graph.value_info.extend(kept)
            self._model.graph.value_info.add(name=name).type.tensor_type.CopyFrom(found)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that gives a value, as it stood when the pass began; None for inputs and initializers."""
        return self._producers.get(name)

    def is_output(self, name: str) -> bool:
        """Whether the model gives the value back."""
        return name in self._outputs

    def fresh(self, hint: str) -> str:
        """A name that no value has, made of `hint`."""
        name, count = hint, 0
        while name in self._names:
            count += 1
            name = f"{hint}_{count}"
        self._names.add(name)
        return name

    def add_constant(self, value: Any, hint: str) -> str:
        """Makes an initializer; its name. The dtype is the array's: pass NumPy arrays."""
        tensor = numpy_helper.from_array(np.asarray(value), self.fresh(hint))
        self._model.graph.initializer.append(tensor)
        self._constants[tensor.name] = tensor
        return str(tensor.name)


def _holds_tensor(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].HasField("t")


def _sizes(found: onnx.TypeProto.Tensor) -> tuple[int, ...] | None:
    if not found.HasField("shape"):
        return None
    dims = found.shape.dim
    return tuple(int(d.dim_value) for d in dims) if all(d.HasField("dim_value") for d in dims) else None


def _static(found: onnx.TypeProto.Tensor) -> Type | None:
    sizes = _sizes(found)
    return None if sizes is None or not found.elem_type else (int(found.elem_type), sizes)


def _types(model: onnx.ModelProto, more: Sequence[onnx.NodeProto] = ()) -> dict[str, onnx.TypeProto.Tensor]:
    light = _without_weights(model)
    light.graph.node.extend(more)
    inferred = shape_inference.infer_shapes(light, data_prop=True).graph
    values = [*inferred.value_info, *inferred.output, *inferred.input]
    found = {it.name: it.type.tensor_type for it in values if it.type.WhichOneof("value") == "tensor_type"}
    for tensor in model.graph.initializer:
        found[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims).tensor_type
    return found


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Types depend on small constants only, and inference copies what it is given, up to 2 GiB."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    for field in ("node", "input", "output", "value_info"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    light.graph.name = model.graph.name
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= _SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return light


def _names(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        names |= {*node.input, *node.output}
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                names |= _names(inner)
    return names
