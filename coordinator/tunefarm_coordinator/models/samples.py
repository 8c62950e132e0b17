"""Input sets that a user brings, as one .npz file: arrays named as the inputs (one set), or `NAME/0`, `NAME/1`, ...
(several sets)."""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.onnx_file import Dim, Signature, TensorSignature
from tunefarm_proto.arrays import meant, storable

# Each is run by every contender; more would say nothing new.
MOST_SETS = 16

InputSet = dict[str, NDArray[Any]]


def read_samples(path: Path, signature: Signature) -> list[InputSet]:
    """The sets, in order. An input may be missing: it is seeded; what is there is there in every set.

    Raises:
        InvalidInput: no .npz file; a name that no input has; a dtype or a size that is not the input's; numbers that
            leave a set out; no set, or more than MOST_SETS.
    """
    inputs = {tensor.name: tensor for tensor in signature.inputs}
    sets: dict[str, dict[int, NDArray[Any]]] = {}
    for key, stored in _arrays(path).items():
        name, number = _place(key, inputs)
        value = _native(meant(stored, inputs[name].dtype))
        _check(inputs[name], key, value)
        if number in sets.setdefault(name, {}):
            raise InvalidInput(f"samples: {name!r} has set {number} twice ({key!r} is one of them)")
        sets[name][number] = value
    count = max((len(found) for found in sets.values()), default=0)
    if not 1 <= count <= MOST_SETS:
        raise InvalidInput(f"samples: {count} sets of inputs, but 1 to {MOST_SETS} are served")
    for name, found in sets.items():
        if sorted(found) != list(range(count)):
            raise InvalidInput(f"samples: {name!r} has sets {sorted(found)}, but {count} are numbered from 0 on")
    return [{name: found[number] for name, found in sets.items()} for number in range(count)]


def check_ranges(signature: Signature, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raises InvalidInput for a range of an input that the model does not have, or of no value."""
    inputs = {tensor.name: tensor for tensor in signature.inputs}
    for name, (low, high) in ranges.items():
        if name not in inputs:
            raise InvalidInput(f"range: no input named {name!r}: the model has {', '.join(inputs) or 'no inputs'}")
        if not -math.inf < low < high < math.inf:
            raise InvalidInput(f"range: {name}={low:g}:{high:g}: write LOW:HIGH, where HIGH is above LOW and left out")
        dtype = np.dtype(inputs[name].dtype)
        if dtype.kind in "iu" and not np.iinfo(dtype).min <= low < high <= np.iinfo(dtype).max + 1:
            raise InvalidInput(f"range: input {name!r} is {dtype.name}, which does not hold {low:g} to {high:g}")


def npz_archive(arrays: InputSet) -> bytes:
    """An .npz of arrays of any names, "file" included."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(storable(array), order="C"), allow_pickle=False)
    return buffer.getvalue()


def _arrays(path: Path) -> InputSet:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidInput("samples: one array without a name; save an .npz with np.savez(FILE, NAME=array)")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"samples: not an .npz file of plain arrays ({error})") from error


def _native(value: NDArray[Any]) -> NDArray[Any]:
    """In this machine's byte order."""
    return value.astype(value.dtype.newbyteorder("="), copy=False)


def _place(key: str, inputs: dict[str, TensorSignature]) -> tuple[str, int]:
    """The input and the set that an array's name means."""
    if key in inputs:
        return key, 0
    name, _, number = key.rpartition("/")
    if name in inputs and number.isascii() and number.isdigit():
        return name, int(number)
    raise InvalidInput(f"samples: no input is called {key!r}: the model has {', '.join(inputs) or 'none'}")


def _check(tensor: TensorSignature, key: str, value: NDArray[Any]) -> None:
    if value.dtype.name != tensor.dtype:
        raise InvalidInput(
            f"samples: {key!r} is {value.dtype.name}, but the input is {tensor.dtype}: save it with "
            f".astype({tensor.dtype!r})"
        )
    dims = tensor.dims
    if dims is None or (len(dims) == value.ndim and all(map(_fits, dims, value.shape))):
        return
    wanted = ",".join("?" if dim is None else str(dim) for dim in dims) or "a scalar"
    raise InvalidInput(f"samples: {key!r} is {_listed(value.shape)}, but the input is {wanted}")


def _fits(dim: Dim, size: int) -> bool:
    return not isinstance(dim, int) or dim == size


def _listed(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape)) or "a scalar"
