"""Packages on the wire: a header for each file, then its data."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from tunefarm_proto.v1 import tuning_pb2

CHUNK_BYTES = 256 << 10


async def package_chunks(folder: Path) -> AsyncIterator[tuning_pb2.PackageChunk]:
    """The files of a package's folder, in the order of their names."""
    for path in await asyncio.to_thread(lambda: sorted(p for p in folder.rglob("*") if p.is_file())):
        header = await asyncio.to_thread(_file_header, folder, path)
        yield tuning_pb2.PackageChunk(file=header)
        with path.open("rb") as file:
            while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield tuning_pb2.PackageChunk(data=data)


def _file_header(folder: Path, path: Path) -> tuning_pb2.FileHeader:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return tuning_pb2.FileHeader(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=digest)
