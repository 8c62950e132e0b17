"""The files that make up an ONNX model: the model itself and the external data that its tensors name.

The `onnx` package is not needed here: a descriptor of the few fields that can hold a tensor is built by
hand, and protobuf skips the rest. Field numbers: onnx.proto of ONNX 1.x (they never change).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tunefarm.errors import InvalidInput

MAX_MODEL_BYTES = 2**31 - 1  # what one protobuf message may hold; larger models keep weights outside

# message -> (field, number, repeated, type); a type in capitals is a message of this table.
_FIELDS: dict[str, list[tuple[str, int, bool, str]]] = {
    "Model": [
        ("ir_version", 1, False, "int64"),
        ("graph", 7, False, "Graph"),
        ("training_info", 20, True, "Training"),
        ("functions", 25, True, "Function"),
    ],
    "Training": [("initialization", 1, False, "Graph"), ("algorithm", 2, False, "Graph")],
    "Function": [("node", 7, True, "Node")],
    "Graph": [
        ("node", 1, True, "Node"),
        ("initializer", 5, True, "Tensor"),
        ("input", 11, True, "Value"),
        ("sparse_initializer", 15, True, "Sparse"),
    ],
    "Value": [("name", 1, False, "string"), ("type", 2, False, "Type")],
    "Type": [("tensor_type", 1, False, "TensorType")],
    "TensorType": [("elem_type", 1, False, "int64"), ("shape", 2, False, "Shape")],
    "Shape": [("dim", 1, True, "Dim")],
    "Dim": [("dim_value", 1, False, "int64")],
    "Node": [("attribute", 5, True, "Attribute")],
    "Attribute": [
        ("t", 5, False, "Tensor"),
        ("g", 6, False, "Graph"),
        ("tensors", 10, True, "Tensor"),
        ("graphs", 11, True, "Graph"),
        ("sparse_tensor", 22, False, "Sparse"),
        ("sparse_tensors", 23, True, "Sparse"),
    ],
    "Sparse": [("values", 1, False, "Tensor"), ("indices", 2, False, "Tensor")],
    "Tensor": [("name", 8, False, "string"), ("external_data", 13, True, "Entry")],
    "Entry": [("key", 1, False, "string"), ("value", 2, False, "string")],
}


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A file to send, and its path relative to the model's folder, with '/' between folders."""

    source: Path
    path: str


@dataclasses.dataclass(frozen=True)
class DeclaredInput:
    """An input as the model's file declares it. `dtype` is None where NumPy has no name for it, `dims` where even
    the rank is open; a dim is None where its size is."""

    name: str
    dtype: str | None
    dims: tuple[int | None, ...] | None


# TensorProto.DataType of onnx.proto.
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


@functools.cache
def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="tunefarm/onnx_tensors.proto", package="tunefarm.onnx")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _FIELDS.items():
        built = file.message_type.add(name=message)
        for name, number, repeated, kind in fields:
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field = built.field.add(name=name, number=number, label=label)
            if kind in _FIELDS:
                field.type = kinds.TYPE_MESSAGE
                field.type_name = f".tunefarm.onnx.{kind}"
            else:
                field.type = kinds.TYPE_INT64 if kind == "int64" else kinds.TYPE_STRING
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tunefarm.onnx.Model"))


def model_files(model: Path) -> list[ModelFile]:
    """The model first, then each external-data file once.

    Raises InvalidInput: no such file, not an ONNX model, truncated, external data missing or outside the
    model's folder.
    """
    parsed = _parse(model)
    files = [ModelFile(model, model.name)]
    for location in sorted(set(_locations(parsed))):
        files.append(_external_file(model, location))
    return files


def declared_inputs(model: Path) -> list[DeclaredInput]:
    """The model's inputs, initializers left out. Raises InvalidInput as `model_files` does."""
    graph = _parse(model).graph
    initializers = {tensor.name for tensor in graph.initializer}
    return [_declared(value) for value in graph.input if value.name not in initializers]


def _declared(value: Any) -> DeclaredInput:
    tensor_type = value.type.tensor_type
    known = tensor_type.HasField("shape")
    # Exporters write 0 or -1 for what is not known.
    dims = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor_type.shape.dim) if known else None
    return DeclaredInput(value.name, _DTYPES.get(tensor_type.elem_type), dims)


def _parse(model: Path) -> Any:
    if not model.exists():
        raise InvalidInput(f"no such file: {model}")
    if not model.is_file():
        raise InvalidInput(f"{model} is not a file")
    if model.stat().st_size > MAX_MODEL_BYTES:
        raise InvalidInput(f"{model} is larger than 2 GB: save its weights as external data")
    try:
        parsed = _model_class().FromString(model.read_bytes())
    except DecodeError as error:
        raise InvalidInput(f"{model} is not an ONNX model, or is truncated") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {model}: {error.strerror}") from error
    if not (parsed.HasField("ir_version") and parsed.HasField("graph")):
        raise InvalidInput(f"{model} is not an ONNX model, or is truncated: it has no graph")
    return parsed


def _locations(message: Any) -> Iterator[str]:
    """The external-data locations of every tensor below `message`."""
    if message.DESCRIPTOR.name == "Tensor":
        yield from (entry.value for entry in message.external_data if entry.key == "location")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if field.is_repeated else [value]:
                yield from _locations(item)


def _external_file(model: Path, location: str) -> ModelFile:
    relative = PurePosixPath(location)
    if not location or relative.is_absolute() or ".." in relative.parts or "\\" in location:
        raise InvalidInput(f"{model} names external data outside its folder: {location!r}")
    source = model.parent / relative
    if not source.is_file():
        raise InvalidInput(f"{model} needs its external data {location!r}, but {source} is not there")
    return ModelFile(source, str(relative))
