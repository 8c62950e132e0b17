"""Arrays in .npz archives, as coordinator and agents exchange them. Imports NumPy, which the client does without.

NumPy's format knows no bfloat16 and no floats of 8 bits: it reads back plain bytes. Here such an array is stored as a
structure with one field, whose name is the type: the file says itself what it holds. `run.py` in a package reads the
same.
"""

import io
from collections.abc import Iterator, Mapping
from typing import IO, Any

import ml_dtypes  # noqa: F401 - NumPy knows the types by name from then on
import numpy as np
from numpy.typing import NDArray

# Stored in NumPy's own way: what it can say by a letter and a size.
_PLAIN_KINDS = "biufc"


class Archive(Mapping[str, NDArray[Any]]):
    """The arrays of an open .npz by name, each read when it is asked for, in its own dtype."""

    def __init__(self, opened: Any) -> None:
        """`opened`: what `numpy.load` gave."""
        self._opened = opened

    def __getitem__(self, name: str) -> NDArray[Any]:
        return restored(self._opened[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened.files)

    def __len__(self) -> int:
        return len(self._opened.files)


def storable(value: NDArray[Any]) -> NDArray[Any]:
    """The array in a dtype that NumPy's format keeps."""
    dtype = value.dtype
    # float8_e5m2 calls itself "f1", which NumPy does not read.
    if dtype.names or (dtype.kind in _PLAIN_KINDS and dtype.isbuiltin != 2):
        return value
    return np.asarray(value, order="C").view([(dtype.name, f"u{dtype.itemsize}")])


def restored(value: NDArray[Any]) -> NDArray[Any]:
    """What `storable` was given."""
    return value.view(np.dtype(value.dtype.names[0])) if value.dtype.names else value


def meant(value: NDArray[Any], dtype: str) -> NDArray[Any]:
    """An array from a file of a user's: `restored`, or plain bytes of the size of `dtype` taken as that (what
    `numpy.savez` makes of a bfloat16 array)."""
    if value.dtype.kind == "V" and not value.dtype.names and value.dtype.itemsize == np.dtype(dtype).itemsize:
        return value.view(np.dtype(dtype))
    return restored(value)


def write_npz(file: IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an .npz of arrays of any type."""
    stored: dict[str, Any] = {name: storable(np.asarray(value)) for name, value in arrays.items()}
    np.savez(file, **stored)


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """`write_npz`, as bytes."""
    buffer = io.BytesIO()
    write_npz(buffer, arrays)
    return buffer.getvalue()
