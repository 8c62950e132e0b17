"""What an ONNX file asks for and gives back, read with `onnx` alone: no TVM, no weights in memory.

Used before anything is spent, so every error is an `InvalidInput` whose message says what to do.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from tunefarm_coordinator.errors import InvalidInput

Dim = int | str | None

# A first byte of 0x08 is the tag of ModelProto.ir_version, with which every exporter begins.
_MODEL_FIRST_BYTE = b"\x08"
_UNNAMED_DIMS = ("", "?")
# Floats that NumPy knows of others only, and that a compiled model takes and gives.
_NARROW_FLOATS = {"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"}


@dataclass(frozen=True)
class TensorSignature:
    """One input or output. `dims` is None where even the rank is not known; a dim is a size in elements, a
    symbol that the file gives it, or None."""

    name: str
    dtype: str
    dims: tuple[Dim, ...] | None


@dataclass(frozen=True)
class Signature:
    """Inputs (initializers left out) and outputs of a model, in the file's order."""

    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]


def read_signature(path: str | Path) -> Signature:
    """The signature of the ONNX file at `path`.

    Raises:
        InvalidInput: no such file, not ONNX, truncated, external data missing or too short, an input that
            is no tensor.
    """
    path = Path(path)
    model = _parse(path)
    _check_external_data(model, path)
    initializers = {t.name for t in model.graph.initializer}
    inputs = tuple(_tensor(v, path) for v in model.graph.input if v.name not in initializers)
    return Signature(inputs, tuple(_tensor(v, path) for v in model.graph.output))


def resolve_shapes(signature: Signature, given: dict[str, list[int]]) -> dict[str, tuple[int, ...]]:
    """A static shape for every input: the file's own sizes, `given`, 1 for an unknown leading (batch) one.

    A symbol has one size: given for one input, it holds for the others that name it.

    Raises:
        InvalidInput: an unknown input name, a wrong rank, a contradiction, a size below 0; or dimensions
            that nobody has fixed, all of them in one message.
    """
    inputs = {tensor.name: tensor for tensor in signature.inputs}
    symbols: dict[str, int] = {}
    for name, shape in given.items():
        if name not in inputs:
            raise InvalidInput(f"no input named {name!r}: the model has {_listed(signature.inputs)}")
        _check_given(inputs[name], shape)
        for dim, size in zip(inputs[name].dims or (), shape, strict=False):
            if isinstance(dim, str) and symbols.setdefault(dim, size) != size:
                raise InvalidInput(f"{dim!r} of input {name!r} is {size} here and {symbols[dim]} elsewhere")
    shapes = {t.name: _resolved(t, given.get(t.name), symbols) for t in signature.inputs}
    _ask_for_missing(signature.inputs, shapes)
    return {
        name: tuple(size for size in shape if size is not None) for name, shape in shapes.items() if shape is not None
    }


def resolve_shape_sets(
    signature: Signature, given: Sequence[dict[str, list[int]]]
) -> tuple[dict[str, tuple[int, ...]], ...]:
    """A static shape for every input, for each of the sets `given`; none given: one set, of the file's own sizes.

    Raises:
        InvalidInput: as `resolve_shapes`, with the set's number where there are several; two sets that are equal.
    """
    if len(given) <= 1:
        return (resolve_shapes(signature, given[0] if given else {}),)
    sets: list[dict[str, tuple[int, ...]]] = []
    for number, shapes in enumerate(given, start=1):
        try:
            resolved = resolve_shapes(signature, shapes)
        except InvalidInput as error:
            raise InvalidInput(f"shape set {number}: {error}") from error
        if resolved in sets:
            raise InvalidInput(f"shape sets {sets.index(resolved) + 1} and {number} are equal: leave one of them out")
        sets.append(resolved)
    return tuple(sets)


def _resolved(
    tensor: TensorSignature, given: list[int] | None, symbols: dict[str, int]
) -> tuple[int | None, ...] | None:
    if given is not None:
        return tuple(given)
    if tensor.dims is None:
        return None
    return tuple(_size(dim, axis, symbols) for axis, dim in enumerate(tensor.dims))


def _size(dim: Dim, axis: int, symbols: dict[str, int]) -> int | None:
    if isinstance(dim, int):
        return dim
    if isinstance(dim, str) and dim in symbols:
        return symbols[dim]
    return 1 if axis == 0 else None


def _check_given(tensor: TensorSignature, shape: list[int]) -> None:
    if any(size < 0 for size in shape):
        raise InvalidInput(f"input {tensor.name!r}: every size must be 0 or more, got {_joined(shape)}")
    if tensor.dims is None:
        return
    if len(shape) != len(tensor.dims):
        raise InvalidInput(
            f"input {tensor.name!r} has {len(tensor.dims)} dimensions ({_joined(tensor.dims)}), "
            f"got {len(shape)} ({_joined(shape)})"
        )
    for axis, (dim, size) in enumerate(zip(tensor.dims, shape, strict=True)):
        if isinstance(dim, int) and dim != size:
            raise InvalidInput(
                f"input {tensor.name!r}: dimension {axis} is fixed at {dim} in the model, got {size}: "
                f"--force-input {shlex.quote(tensor.name)}={_joined(shape)} overrides it, which most models can take"
            )


def _ask_for_missing(inputs: tuple[TensorSignature, ...], shapes: dict[str, tuple[int | None, ...] | None]) -> None:
    asked = [t for t in inputs if (shape := shapes[t.name]) is None or None in shape]
    if not asked:
        return
    details = "; ".join(f"{t.name!r} is {_joined(t.dims)}" for t in asked)
    options = " ".join(f"--input {shlex.quote(t.name)}={_template(shapes[t.name])}" for t in asked)
    raise InvalidInput(f"the model leaves input sizes open ({details}): fill in the ? of {options}")


def _template(shape: tuple[int | None, ...] | None) -> str:
    return "?,..." if shape is None else ",".join("?" if size is None else str(size) for size in shape)


def _joined(dims: tuple[Dim, ...] | list[int] | None) -> str:
    if dims is None:
        return "of unknown rank"
    return ",".join("?" if dim is None else str(dim) for dim in dims)


def _listed(inputs: tuple[TensorSignature, ...]) -> str:
    return ", ".join(f"{t.name}={_joined(t.dims)}" for t in inputs) or "no inputs at all"


def _parse(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: can't be read ({error.strerror})") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        if content[:1] == _MODEL_FIRST_BYTE and len(content) > 1:
            raise InvalidInput(f"{path}: truncated or damaged ONNX file; copy or export it again") from error
        raise InvalidInput(f"{path}: not an ONNX file") from error
    if not model.opset_import and not model.graph.node:
        raise InvalidInput(f"{path}: not an ONNX file (no graph, no operator set)")
    if not model.graph.node or not model.graph.output:
        raise InvalidInput(f"{path}: the ONNX graph is empty; nothing to tune")
    if not model.opset_import:
        raise InvalidInput(f"{path}: names no operator set; truncated or damaged, export it again")
    return model


def _check_external_data(model: onnx.ModelProto, path: Path) -> None:
    for tensor in _all_tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = path.parent / entries.get("location", "")
        if not location.is_file():
            raise InvalidInput(f"{path}: its weights are in {location}, which is missing; put it beside it")
        needed = int(entries.get("offset", 0)) + int(entries.get("length", _bytes(tensor)))
        if location.stat().st_size < needed:
            raise InvalidInput(f"{location}: {location.stat().st_size} bytes, {needed} needed; truncated")


def _bytes(tensor: onnx.TensorProto) -> int:
    return int(prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _all_tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Initializers and constants, those of subgraphs included."""
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensors.append(attribute.t)
            for subgraph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                tensors += _all_tensors(subgraph)
    return tensors


def _tensor(value: onnx.ValueInfoProto, path: Path) -> TensorSignature:
    kind = str(value.type.WhichOneof("value")).removesuffix("_type")
    if kind != "tensor":
        raise InvalidInput(
            f"{path}: {value.name!r} is no tensor but a {kind}; models of tensors only (a classifier of scikit-learn: "
            "export it with zipmap=False)"
        )
    tensor_type = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: {value.name!r} has no known element type; export it again") from error
    if dtype.name not in _NARROW_FLOATS and (dtype.kind not in "fiub" or dtype.isbuiltin != 1):
        kind = "text" if dtype.kind == "O" else dtype.name
        raise InvalidInput(
            f"{path}: {value.name!r} holds {kind}, which no compiled model can take or give: numbers of 8 bits "
            "and more, and booleans; cast it outside of the model"
        )
    dims = tuple(_dim(d) for d in tensor_type.shape.dim) if tensor_type.HasField("shape") else None
    return TensorSignature(value.name, dtype.name, dims)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    """Exporters write "not known" as nothing, "?", 0 or -1."""
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    if dim.HasField("dim_param") and dim.dim_param not in _UNNAMED_DIMS:
        return str(dim.dim_param)
    return None
