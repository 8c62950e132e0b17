"""What lies in a NumPy file, read from its headers alone, without NumPy.

The format: numpy.lib.format ("NumPy format", NEP 1); an .npz is a zip archive of .npy files.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import struct
import zipfile
from pathlib import Path
from typing import IO

from tunefarm.errors import InvalidInput

_MAGIC = b"\x93NUMPY"
_KINDS = {"f": "float", "i": "int", "u": "uint"}


@dataclasses.dataclass(frozen=True)
class ArrayHeader:
    """`dtype` as NumPy names it ("float32", "bool"); what has no such name stays as it is written."""

    dtype: str
    shape: tuple[int, ...]


def npy_header(path: Path) -> ArrayHeader:
    """The array in an .npy file. Raises InvalidInput for any other file."""
    try:
        with path.open("rb") as stream:
            return _header(stream)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is no .npy file (numpy.save writes one): {error}") from error


def npz_headers(path: Path) -> dict[str, ArrayHeader]:
    """The arrays in an .npz file, by name. Raises InvalidInput for any other file."""
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as stream:
                    headers[name.removesuffix(".npy")] = _header(stream)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path} is no .npz file of arrays (numpy.savez writes one): {error}") from error
    return headers


def _header(stream: IO[bytes]) -> ArrayHeader:
    start = stream.read(8)
    if len(start) < 8 or start[:6] != _MAGIC:
        raise ValueError("no array in NumPy's format")
    wide = start[6] > 1
    (length,) = struct.unpack("<I" if wide else "<H", stream.read(4 if wide else 2))
    try:
        fields = ast.literal_eval(stream.read(length).decode("utf-8" if start[6] > 2 else "latin-1"))
        return ArrayHeader(_dtype(fields["descr"]), tuple(int(size) for size in fields["shape"]))
    except (SyntaxError, KeyError, TypeError) as error:
        raise ValueError("damaged header") from error


def _dtype(text: object) -> str:
    """NumPy's name for "<f4"; a structure of one field is a type that NumPy does not know, and the field its name."""
    if isinstance(text, list) and len(text) == 1:
        return str(text[0][0])
    if text in ("|b1", "?"):
        return "bool"
    found = re.fullmatch(r"[<>|=]?([fiu])([1248])", str(text))
    return f"{_KINDS[found[1]]}{8 * int(found[2])}" if found else str(text)
