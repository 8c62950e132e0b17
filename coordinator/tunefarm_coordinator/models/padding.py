"""What a package may pad its inputs with, and what its outputs have to do with it. No TVM here: checked before anything
is spent."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.onnx_file import Signature


def check_padding(signature: Signature, padding: Mapping[str, float]) -> None:
    """Raises InvalidInput for an input that the model has not, and for a value that is none of its numbers."""
    dtypes = {tensor.name: np.dtype(tensor.dtype) for tensor in signature.inputs}
    for name, value in padding.items():
        if name not in dtypes:
            raise InvalidInput(f"padding: no input named {name!r}: the model has {', '.join(dtypes) or 'none'}")
        if not _holds(dtypes[name], value):
            raise InvalidInput(f"padding: input {name!r} is {dtypes[name].name}, which can't be {value:g}")


def equal_axes(signature: Signature, padding: Mapping[str, float]) -> list[dict[str, Any]]:
    """Axes of outputs that the file calls by the name of a padded input's: what was padded there can be cut off."""
    return [
        {"output": output.name, "axis": axis, "input": tensor.name, "along": along}
        for output in signature.outputs
        for axis, size in enumerate(output.dims or ())
        for tensor in signature.inputs
        for along, dim in enumerate(tensor.dims or ())
        if tensor.name in padding and isinstance(dim, str) and dim == size
    ]


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    if not math.isfinite(value):
        return False
    if dtype.kind == "b":
        return value in (0, 1)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return value.is_integer() and bounds.min <= value <= bounds.max
    # What NumPy knows no bounds of (bfloat16) reaches as far as float32.
    return abs(value) <= float(np.finfo(dtype if dtype.kind == "f" and dtype.isbuiltin == 1 else np.float32).max)
