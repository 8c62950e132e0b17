"""Uploaded models: files in the data folder, rows in the store."""

import asyncio
import hashlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.values import ValueFiles
from tunefarm_coordinator.durable_files import put_in_place
from tunefarm_coordinator.errors import InvalidInput, NotFound
from tunefarm_coordinator.models.derived import derive_model
from tunefarm_coordinator.models.onnx_file import Signature, read_signature
from tunefarm_coordinator.schedules.changes import AddModel
from tunefarm_coordinator.schedules.store import Store

LARGEST_MODEL_BYTES = 16 << 30


@dataclass(frozen=True)
class ModelFile:
    """One file of a model. `path` is relative, with '/' between folders; `sha256` in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class UploadHeader:
    """What a client says it will send. The first file is the model."""

    name: str
    project: str
    owner: str
    files: tuple[ModelFile, ...]


@dataclass(frozen=True)
class Chunk:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class StoredModel:
    """A model that the coordinator holds. `path` is its `.onnx` file; `created` in seconds since the epoch."""

    model_id: str
    name: str
    project: str
    owner: str
    digest: str
    path: Path
    signature: Signature
    created: float


class ModelLibrary:
    """Models by id. A model that is there is whole: it is moved into place only after every digest matched."""

    def __init__(self, folders: Folders, store: Store) -> None:
        self._folders = folders
        self._store = store
        self.values = ValueFiles(folders)

    async def add(self, header: UploadHeader, chunks: AsyncIterator[Chunk]) -> StoredModel:
        """Takes a model in; the same files in the same project are the same model. Raises InvalidInput."""
        _check_header(header)
        digest = hashlib.sha256("\n".join(f"{file.path} {file.sha256}" for file in header.files).encode()).hexdigest()
        model_id = "model-" + hashlib.sha256(f"{header.project}\n{digest}".encode()).hexdigest()[:16]
        folder = self._folders.uploads / uuid.uuid4().hex
        try:
            await receive(folder, header.files, chunks)
            # Read before it is kept: a file that is no model leaves nothing behind.
            await asyncio.to_thread(self._read, folder / header.files[0].path)
            await asyncio.to_thread(_move, folder, self._folders.model(model_id))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        row = AddModel(
            model_id=model_id,
            digest=digest,
            project=header.project,
            owner=header.owner,
            name=header.name,
            document={"file": header.files[0].path},
            created=time.time(),
        )
        await asyncio.wrap_future(self._store.write(row))
        return await self.get(model_id)

    async def get(self, model_id: str) -> StoredModel:
        """Raises NotFound."""
        row = await asyncio.to_thread(self._store.model, model_id)
        if row is None:
            raise NotFound(f"no model {model_id!r}: upload it first")
        path = self._folders.model(model_id) / row.document["file"]
        signature = await asyncio.to_thread(self._read, path)
        return StoredModel(model_id, row.name, row.project, row.owner, row.digest, path, signature, row.created)

    async def derived(
        self, model: StoredModel, frozen: Mapping[str, NDArray[Any]], forced: Collection[str]
    ) -> StoredModel:
        """The model with inputs frozen and sizes set free (`models.derived`); made once."""
        folder = self._folders.model(f"{model.model_id}-{_digest(frozen, forced)}")
        path = folder / model.path.relative_to(self._folders.model(model.model_id))
        if not folder.exists():
            await asyncio.to_thread(self._derive, model.path, path, folder, frozen, forced)
        signature = await asyncio.to_thread(self._read, path)
        return replace(model, model_id=folder.name, path=path, signature=signature)

    def _derive(
        self, source: Path, path: Path, folder: Path, frozen: Mapping[str, NDArray[Any]], forced: Collection[str]
    ) -> None:
        draft = self._folders.uploads / uuid.uuid4().hex
        try:
            derive_model(source, draft / path.relative_to(folder), frozen, forced)
            _move(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @staticmethod
    def _read(path: Path) -> Signature:
        try:
            return read_signature(path)
        except InvalidInput as error:
            raise InvalidInput(as_sent(str(error), path)) from error


async def receive(folder: Path, files: Sequence[ModelFile], chunks: AsyncIterator[Chunk]) -> None:
    """Writes the files below `folder`. Raises InvalidInput where one does not arrive as its header says."""
    hashes = [hashlib.sha256() for _ in files]
    sizes = [0] * len(files)
    for file in files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).touch()
    async for chunk in chunks:
        if chunk.file >= len(files) or chunk.offset != sizes[chunk.file]:
            raise InvalidInput(f"chunk at {chunk.offset} of file {chunk.file} is out of order: send it again")
        sizes[chunk.file] += len(chunk.data)
        if sizes[chunk.file] > files[chunk.file].size:
            raise InvalidInput(f"{files[chunk.file].path} is longer than its header says")
        hashes[chunk.file].update(chunk.data)
        await asyncio.to_thread(_append, folder / files[chunk.file].path, chunk.data)
    for file, size, digest in zip(files, sizes, hashes, strict=True):
        if size != file.size or digest.hexdigest() != file.sha256:
            raise InvalidInput(f"{file.path} did not arrive whole ({size} of {file.size} bytes): send it again")


def as_sent(message: str, model: Path) -> str:
    """What is said of a model's files, by the names that its user knows; `model`: where the coordinator has it."""
    return message.replace(f"{model.parent}/", "")


def _digest(frozen: Mapping[str, NDArray[Any]], forced: Collection[str]) -> str:
    digest = hashlib.sha256(repr(sorted(forced)).encode())
    for name, value in sorted(frozen.items()):
        digest.update(f"{name!r} {value.dtype.str} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()[:16]


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _move(folder: Path, destination: Path) -> None:
    if not destination.exists():
        put_in_place(folder, destination)


def _check_header(header: UploadHeader) -> None:
    if not header.files:
        raise InvalidInput("the upload has no files")
    if sum(file.size for file in header.files) > LARGEST_MODEL_BYTES:
        raise InvalidInput(f"the model is larger than {LARGEST_MODEL_BYTES >> 30} GiB")
    paths = [PurePosixPath(file.path) for file in header.files]
    for path in paths:
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in str(path) or "\\" in str(path):
            raise InvalidInput(f"file path {str(path)!r} leaves the model's folder")
    if len(set(paths)) != len(paths):
        raise InvalidInput("a file is named twice in the upload")
