"""Artifacts on disk, each named by its content: "sha256:" and 64 hex digits.

A name that is there has all its bytes: files are written beside, flushed to the disk, and then renamed. An artifact
stays as long as anybody refers to it: whoever puts it says for whom, and the last one to let go of it removes it.
"""

import asyncio
import errno
import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tunefarm_coordinator.durable_files import sync
from tunefarm_coordinator.errors import InvalidInput, NotFound, StoreError

CHUNK_BYTES = 256 << 10
LARGEST_ARTIFACT_BYTES = 4 << 30
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_UNFINISHED = ".part"
# What an agent sent is asked for once its outcome is there; what nobody asked for by then, nobody will.
_UPLOAD_SECONDS = 3600.0


class TooLarge(InvalidInput):
    """More bytes than the coordinator takes in one piece."""


class DiskFull(StoreError):
    """No room for the artifact; nothing of it stays."""


def check_digest(digest: str) -> str:
    """The digest itself. Raises InvalidInput if it is none."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"not an artifact's digest (sha256: and 64 hex digits): {digest[:100]!r}")
    return digest


def digest_of(content: bytes) -> str:
    """The name of these bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


class ArtifactStore:
    """A folder of artifacts. Blocks on the disk, unless a method is a coroutine: call it from a thread, or several."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`root` is created if need be; files that an earlier process left unfinished are removed. What it finished
        belongs to nobody until `inherit` says so."""
        self._root = root
        self._clock = clock
        # One visit at a time: what one lets go of another may be about to put.
        self._lock = threading.Lock()
        self._owners: dict[str, set[str]] = {}
        self._uploads: dict[str, float] = {}
        try:
            root.mkdir(parents=True, exist_ok=True)
            for left in root.glob(f"*{_UNFINISHED}"):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"the artifact folder {root} can't be written: {error.strerror}") from error

    def put(self, content: bytes, owner: str) -> str:
        """Keep these bytes for `owner`; their digest. Raises StoreError (DiskFull)."""
        digest = digest_of(content)
        if not self._owned(digest, owner):
            with self._writing() as file:
                file.write(content)
                self._finish(file, digest, owner)
        return digest

    def put_file(self, source: Path, owner: str) -> str:
        """Keep a copy of the file for `owner`; its digest. Raises StoreError (DiskFull, source not readable)."""
        digest = hashlib.sha256()
        with self._writing() as file, source.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
            return self._finish(file, "sha256:" + digest.hexdigest(), owner)

    async def receive(
        self, digest: str, chunks: AsyncIterator[bytes], limit: int = LARGEST_ARTIFACT_BYTES
    ) -> tuple[str, int]:
        """Keep what comes in chunks, for an hour; its digest and size in bytes. Nothing stays behind if it fails.

        Raises:
            InvalidInput: the content has another digest.
            TooLarge: more than `limit` bytes.
            DiskFull, StoreError: the artifact can't be written.
        """
        check_digest(digest)
        content, size = hashlib.sha256(), 0
        with self._writing() as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"artifact {digest} is larger than the {limit} bytes that this coordinator takes")
                content.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            if "sha256:" + content.hexdigest() != digest:
                raise InvalidInput(f"artifact {digest} came with other content ({size} bytes): send it again")
            await asyncio.to_thread(self._finish, file, digest, None)
        return digest, size

    def path(self, digest: str) -> Path:
        """The artifact's file; read it, and leave it as it is. Raises InvalidInput (no digest), NotFound."""
        path = self._path(digest)
        if not path.is_file():
            raise NotFound(f"no artifact {digest}: it was never sent, or nobody needs it any more")
        return path

    def exists(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def chunk(self, digest: str, offset: int = 0) -> tuple[bytes, int]:
        """(CHUNK_BYTES from `offset` on, or what there is; the whole size).

        Raises InvalidInput (no digest, an offset past the end), NotFound.
        """
        with self.path(digest).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if offset > size:
                raise InvalidInput(f"artifact {digest} ends before byte {offset}")
            file.seek(offset)
            return file.read(CHUNK_BYTES), size

    def adopt(self, digest: str, owner: str) -> Path:
        """An upload's file, from now on kept for `owner` and no longer. Raises InvalidInput (no digest), NotFound."""
        if not self._owned(digest, owner):
            return self.path(digest)
        with self._lock:
            self._uploads.pop(digest, None)
        return self.path(digest)

    def inherit(self, owner: str) -> None:
        """What an earlier process kept may be what work of `owner` asks for that agents hold still."""
        with self._lock:
            for digest in self._on_disk():
                self._owners.setdefault(digest, set()).add(owner)

    def release(self, owner: str = "") -> int:
        """Lets go of all that was kept for `owner`, and removes what belongs to nobody (any more); how many it were.
        Uploads under way stay."""
        with self._lock:
            for owners in self._owners.values():
                owners.discard(owner)
            self._owners = {digest: owners for digest, owners in self._owners.items() if owners}
            old = self._clock() - _UPLOAD_SECONDS
            self._uploads = {digest: at for digest, at in self._uploads.items() if at > old}
            doomed = [digest for digest in self._on_disk() if digest not in self._owners | self._uploads]
            for digest in doomed:
                self._path(digest).unlink(missing_ok=True)
        return len(doomed)

    def _owned(self, digest: str, owner: str) -> bool:
        """Whether the artifact is there; it is then kept for `owner` as well."""
        with self._lock:
            found = self.exists(digest)
            if found:
                self._owners.setdefault(digest, set()).add(owner)
        return found

    def _on_disk(self) -> list[str]:
        return [path.name.replace("-", ":") for path in self._root.glob("sha256-*")]

    def _path(self, digest: str) -> Path:
        return self._root / check_digest(digest).replace(":", "-")

    @contextmanager
    def _writing(self) -> Iterator[BinaryIO]:
        """A new file that is gone afterwards, unless it was finished."""
        try:
            handle, name = tempfile.mkstemp(dir=self._root, suffix=_UNFINISHED)
            os.close(handle)
            path = Path(name)
            try:
                with path.open("wb") as file:
                    yield file
            finally:
                path.unlink(missing_ok=True)
        except OSError as error:
            kind = DiskFull if error.errno in _FULL else StoreError
            raise kind(f"an artifact can't be written to {self._root}: {error}") from error

    def _finish(self, file: BinaryIO, digest: str, owner: str | None) -> str:
        """Everything on the disk first, then the name. `owner` None: an upload."""
        file.flush()
        os.fsync(file.fileno())
        with self._lock:
            Path(file.name).replace(self._path(digest))
            if owner is None:
                self._uploads[digest] = self._clock()
            else:
                self._owners.setdefault(digest, set()).add(owner)
        sync(self._root)
        return digest
