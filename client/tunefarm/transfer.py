"""Models up and packages down, in chunks; nothing received is ever written outside its folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from tunefarm.calls import Calls
from tunefarm.errors import BrokenTransfer, InvalidInput, Unavailable, Unreachable
from tunefarm.model_files import ModelFile
from tunefarm.watching import Outage
from tunefarm_proto.v1 import schedule_pb2, tuning_pb2

CHUNK_BYTES = 1 << 20
_OUTAGE_SECONDS = 30.0

# (bytes done, bytes in all)
TransferProgress = Callable[[int, int], None]


def header_of(files: Sequence[ModelFile]) -> list[tuning_pb2.FileHeader]:
    """Sizes and digests of the files, in order. Raises InvalidInput where one can't be read."""
    headers = []
    for file in files:
        try:
            with file.source.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                size = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise InvalidInput(f"cannot read {file.source}: {error.strerror}") from error
        headers.append(tuning_pb2.FileHeader(path=file.path, size=size, sha256=digest))
    return headers


def upload(
    calls: Calls,
    files: Sequence[ModelFile],
    header: tuning_pb2.UploadModelHeader,
    progress: TransferProgress | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> tuning_pb2.Model:
    """Sends the files that `header` announces; tries again from the start when the connection breaks."""
    size = sum(file.size for file in header.files)
    outage = Outage(_OUTAGE_SECONDS, time.monotonic)

    def parts() -> Iterator[tuning_pb2.UploadModelRequest]:
        yield tuning_pb2.UploadModelRequest(header=header)
        yield from _chunks(files, size, progress)

    while True:
        try:
            return calls.upload(parts, size)
        except Unreachable:
            raise
        except Unavailable as error:
            sleep(outage.next_pause(error))


def upload_values(calls: Calls, path: Path, *, sleep: Callable[[float], None] = time.sleep) -> str:
    """Sends a NumPy file; its values_id. Tries again from the start when the connection breaks."""
    (header,) = header_of([ModelFile(path, path.name)])
    outage = Outage(_OUTAGE_SECONDS, time.monotonic)

    def parts() -> Iterator[tuning_pb2.UploadValuesRequest]:
        yield tuning_pb2.UploadValuesRequest(header=header)
        with path.open("rb") as stream:
            while data := stream.read(CHUNK_BYTES):
                yield tuning_pb2.UploadValuesRequest(data=data)

    while True:
        try:
            return calls.upload_values(parts, header.size)
        except Unreachable:
            raise
        except Unavailable as error:
            sleep(outage.next_pause(error))


def fetch_package(
    calls: Calls, job_id: str, folder: Path, *, sleep: Callable[[float], None] = time.sleep
) -> list[Path]:
    """Fetches a job's package into `folder`; from the start again when the connection breaks.

    Raises as `save_package` does, and NoPackage, NotFound.
    """
    outage = Outage(_OUTAGE_SECONDS, time.monotonic)
    while True:
        try:
            return save_package(calls.package(job_id), folder)
        except Unreachable:
            raise
        except Unavailable as error:
            sleep(outage.next_pause(error))


def fetch_compiled(
    calls: Calls,
    request: schedule_pb2.CompileModelRequest,
    folder: Path,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> schedule_pb2.FoundSchedules:
    """Has a model compiled, and its package put into `folder`; from the start again when the connection breaks. Returns
    what it was compiled with. Raises as `save_package`, and InvalidInput, NotFound."""
    outage = Outage(_OUTAGE_SECONDS, time.monotonic)
    while True:
        try:
            parts = calls.compile(request)
            first = next(parts, None)
            if first is None or first.WhichOneof("part") != "found":
                raise BrokenTransfer("the coordinator did not say what it compiles the model with")
            save_package((part.chunk for part in parts), folder)
            return first.found
        except Unreachable:
            raise
        except Unavailable as error:
            sleep(outage.next_pause(error))


def _chunks(
    files: Sequence[ModelFile], size: int, progress: TransferProgress | None
) -> Iterator[tuning_pb2.UploadModelRequest]:
    sent = 0
    for index, file in enumerate(files):
        with file.source.open("rb") as stream:
            offset = 0
            while data := stream.read(CHUNK_BYTES):
                chunk = tuning_pb2.FileChunk(file=index, offset=offset, data=data)
                yield tuning_pb2.UploadModelRequest(chunk=chunk)
                offset += len(data)
                sent += len(data)
                if progress is not None:
                    progress(sent, size)


def save_package(chunks: Iterable[tuning_pb2.PackageChunk], folder: Path) -> list[Path]:
    """Writes a package's files below `folder` and returns their paths.

    Everything is received and checked in a staging folder inside it before the first file takes its place,
    so that a broken transfer leaves `folder` as it was. Raises BrokenTransfer (a path that leaves the
    folder, a size or digest that does not match) and InvalidInput (the folder can't be written).
    """
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".tunefarm-partial-", dir=folder))
    try:
        with _writable(folder):
            received = _receive(chunks, staging)
            return [_put_in_place(staging, folder, path) for path in received]
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _receive(chunks: Iterable[tuning_pb2.PackageChunk], staging: Path) -> list[PurePosixPath]:
    paths: list[PurePosixPath] = []
    with contextlib.ExitStack() as opened:
        current: _IncomingFile | None = None
        for chunk in chunks:
            if chunk.WhichOneof("part") == "file":
                if current is not None:
                    current.finish()
                path = _safe_path(chunk.file.path)
                if path in paths:
                    raise BrokenTransfer(f"the coordinator sent {chunk.file.path!r} twice")
                paths.append(path)
                current = _IncomingFile(chunk.file, staging / path, opened)
            elif current is None:
                raise BrokenTransfer("the coordinator sent data before any file's name")
            else:
                current.write(chunk.data)
        if current is None:
            raise BrokenTransfer("the coordinator sent an empty package")
        current.finish()
    return paths


class _IncomingFile:
    """A file being received; checked against its header when it is complete."""

    def __init__(self, header: tuning_pb2.FileHeader, target: Path, opened: contextlib.ExitStack) -> None:
        self._header = header
        target.parent.mkdir(parents=True, exist_ok=True)
        self._stream: IO[bytes] = opened.enter_context(target.open("xb"))
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._header.size:
            raise BrokenTransfer(f"{self._header.path!r} is longer than announced: fetch it again")
        self._digest.update(data)
        self._stream.write(data)

    def finish(self) -> None:
        self._stream.close()
        if self._size != self._header.size or self._digest.hexdigest() != self._header.sha256.lower():
            raise BrokenTransfer(f"{self._header.path!r} arrived damaged or cut short: fetch it again")


def _safe_path(text: str) -> PurePosixPath:
    path = PurePosixPath(text)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text or not path.parts
    if unsafe or ":" in path.parts[0]:
        raise BrokenTransfer(f"refused a package file whose path leaves its folder: {text!r}")
    return path


def _put_in_place(staging: Path, folder: Path, path: PurePosixPath) -> Path:
    target = folder / path
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise BrokenTransfer(f"refused to write {target}: a link in {folder} leads out of it")
    target.parent.mkdir(parents=True, exist_ok=True)
    (staging / path).replace(target)
    return target
