"""What was compiled, on disk: the same source is compiled once on a host, whichever process asks.

A file for each image, named by the digest of all that it was made of. Files come whole or not at all, tell if they were
damaged, and the ones not used for longest go when there are too many. Any number of processes share a folder.
"""

import contextlib
import hashlib
import logging
import os
import time
import uuid
from pathlib import Path

log = logging.getLogger(__name__)

_DIGEST_BYTES = 32
# A process looks through the folder when it adds its first image, and then after so many. Between two looks the folder
# outgrows its limit by that many images a process, some megabytes.
_LOOK_EVERY = 64
# What is left when there was too much, so that not every look ends in deleting.
_KEPT = 0.9
# A writer that was killed leaves its draft; one that is older is nobody's any more. Seconds.
_DRAFT_AGE = 3600.0
_DRAFT = ".draft"


def key(*parts: str) -> str:
    """The name of the image that is made of these, in this order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class Images:
    """The images in a folder. Nothing raises: where the disk fails, the answer is that there is none."""

    def __init__(self, folder: Path, limit: int) -> None:
        """`folder` is made when it is needed; `limit`: bytes that images may take there."""
        self._folder = folder
        self._limit = limit
        self._added = 0

    def get(self, name: str) -> bytes | None:
        """The image of this name. One that was damaged is deleted."""
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        image = data[_DIGEST_BYTES:]
        whole = hashlib.sha256(image).digest() == data[:_DIGEST_BYTES]
        with contextlib.suppress(OSError):  # another process made room meanwhile
            if whole:
                os.utime(path)
            else:
                path.unlink()
        return image if whole else None

    def add(self, name: str, image: bytes) -> None:
        """Keeps the image, as long as there is room."""
        path = self._path(name)
        draft = path.with_name(f"{uuid.uuid4().hex}{_DRAFT}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(hashlib.sha256(image).digest() + image)
            draft.replace(path)
        except OSError as error:
            log.warning("a compiled image is not kept: %s", error)
            return
        if self._added % _LOOK_EVERY == 0:
            self._make_room()
        self._added += 1

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _make_room(self) -> None:
        found = []
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another process made room meanwhile
                status = path.stat()
                if path.suffix != _DRAFT:
                    found.append((status.st_mtime_ns, status.st_size, path))
                elif status.st_mtime < time.time() - _DRAFT_AGE:
                    path.unlink()
        total = sum(size for _, size, _ in found)
        if total <= self._limit:
            return
        for _, size, path in sorted(found):
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
            if total <= _KEPT * self._limit:
                return
