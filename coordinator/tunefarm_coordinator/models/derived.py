"""A user's model with some inputs made constants and some sizes set free: a file like any other, which all that
follows (reference, contenders, preparation) takes for the job's model. ONNX alone: no TVM."""

import json
import math
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.batch_reshapes import free_batch
from tunefarm_coordinator.models.foreign import FOREIGN_FAILURES
from tunefarm_coordinator.models.onnx_file import Signature, TensorSignature, resolve_shapes
from tunefarm_coordinator.models.small_constants import KnownGraph, known_graph, subgraphs, without_weights
from tunefarm_proto.arrays import meant

# From this version on a constant need not be listed as an input as well.
_FREE_CONSTANTS = 4


def frozen_array(tensor: TensorSignature, given: str | Path, sizes: list[int] | None = None) -> NDArray[Any]:
    """The constant that takes an input's place.

    Args:
        given: JSON (one number fills every place; a flat list, those of a known shape), or an .npy file.
        sizes: the input's, where the user gave them.

    Raises:
        InvalidInput: no such value, one that the input's dtype does not hold, or of another shape.
    """
    value = _loaded(tensor, given) if isinstance(given, Path) else _parsed(tensor, given)
    if value.ndim == 0 or (value.ndim == 1 and tensor.dims is not None and len(tensor.dims) > 1):
        shape = resolve_shapes(Signature((tensor,), ()), {} if sizes is None else {tensor.name: sizes})[tensor.name]
        if value.ndim == 0 or math.prod(shape) == value.size:
            return np.broadcast_to(value, shape).copy() if value.ndim == 0 else value.reshape(shape)
    # Checks the rank and the sizes that the file fixes.
    resolve_shapes(Signature((tensor,), ()), {tensor.name: list(value.shape)})
    return value


def derive_model(
    path: Path, out: Path, frozen: Mapping[str, NDArray[Any]] | None = None, forced: Collection[str] = ()
) -> None:
    """Writes the model at `path` to `out`, with what lies beside it; `out`'s folder must not exist yet.

    `frozen`: values of inputs, which become constants. `forced`: inputs that lose the sizes which the file fixes;
    what it says of sizes further on is dropped, and reshapes that name the batch's size follow it.

    Raises:
        OSError: the folder can't be written.
    """
    model = onnx.load(path, load_external_data=False)
    for name, value in (frozen or {}).items():
        _freeze(model, name, value)
    if forced:
        _set_free(model, forced)
    shutil.copytree(path.parent, out.parent, copy_function=_linked, ignore=_only(path))
    onnx.save(model, out)


def check_sizes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Whether the model can take inputs of these sizes, as far as its graph tells.

    Raises:
        InvalidInput: the first node whose sizes don't go together.
    """
    model = without_weights(onnx.load(path, load_external_data=False))
    for value in model.graph.input:
        if value.name in shapes:
            dims = value.type.tensor_type.shape.dim
            del dims[:]
            for size in shapes[value.name]:
                dims.add().dim_value = size
    known = known_graph(model)
    reason = _broken_reshape(known)
    if reason is None:
        try:
            shape_inference.infer_shapes(model, check_type=False, strict_mode=True, data_prop=True)
        except (*FOREIGN_FAILURES, shape_inference.InferenceError) as error:
            reason = " ".join(str(error).split())
    if reason is not None:
        given = ", ".join(f"{name}={','.join(map(str, shape))}" for name, shape in shapes.items())
        raise InvalidInput(f"the model can't take {given}: {reason}; its sizes are fixed inside, export it with others")


def _broken_reshape(known: KnownGraph) -> str | None:
    for node in (node for graph in subgraphs(known.graph) for node in graph.node):
        if node.op_type != "Reshape" or len(node.input) < 2:
            continue
        sizes, wanted = known.sizes.get(node.input[0]), known.values.get(node.input[1])
        if sizes is None or None in sizes or wanted is None:
            continue
        count = math.prod(size or 0 for size in sizes)
        fixed = math.prod(int(size) or sizes[at] or 0 for at, size in enumerate(wanted.reshape(-1)) if size != -1)
        if count != fixed and (-1 not in wanted or fixed == 0 or count % fixed):
            name = node.name or f"(output {node.output[0]})"
            listed = ",".join(str(int(size)) for size in wanted.reshape(-1))
            return f"Reshape at node {name} makes {listed} of {','.join(map(str, sizes))}"
    return None


def _parsed(tensor: TensorSignature, text: str) -> NDArray[Any]:
    try:
        value = np.array(json.loads(text))
    except ValueError as error:
        raise InvalidInput(f"freeze: {tensor.name}={text}: no number, and no even list of numbers") from error
    dtype = np.dtype(tensor.dtype)
    if value.dtype.kind == "b" and dtype.kind != "b":
        raise InvalidInput(f"freeze: input {tensor.name!r} is {tensor.dtype}, not true or false")
    if value.dtype.kind not in "biuf":
        raise InvalidInput(f"freeze: {tensor.name}={text}: numbers, true and false only")
    with np.errstate(all="ignore"):
        cast = value.astype(dtype)
    if dtype.kind in "biu" and not np.array_equal(cast, value):
        raise InvalidInput(f"freeze: input {tensor.name!r} is {tensor.dtype}, which does not hold {text}")
    return cast


def _loaded(tensor: TensorSignature, path: Path) -> NDArray[Any]:
    try:
        value = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInput(f"freeze: the file for {tensor.name!r} is no .npy file ({error})") from error
    if not isinstance(value, np.ndarray):
        raise InvalidInput(f"freeze: the file for {tensor.name!r} is an .npz; save one array with numpy.save")
    value = meant(value, tensor.dtype)
    if value.dtype.name != tensor.dtype:
        raise InvalidInput(f"freeze: the file for {tensor.name!r} has {value.dtype.name}, the input is {tensor.dtype}")
    return value.astype(value.dtype.newbyteorder("="), copy=False)


def _freeze(model: onnx.ModelProto, name: str, value: NDArray[Any]) -> None:
    graph = model.graph
    for fields in (graph.input, graph.initializer):
        for at in reversed([at for at, field in enumerate(fields) if field.name == name]):
            del fields[at]
    graph.initializer.append(numpy_helper.from_array(value, name))
    model.ir_version = max(model.ir_version, _FREE_CONSTANTS)


def _set_free(model: onnx.ModelProto, forced: Collection[str]) -> None:
    free_batch(model, forced)
    for value in model.graph.input:
        if value.name in forced:
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
    for graph in subgraphs(model.graph):
        del graph.value_info[:]
        for value in graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
    for function in model.functions:
        del function.value_info[:]


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
    return target


def _only(path: Path) -> Any:
    return lambda folder, names: [name for name in names if Path(folder, name) == path]
