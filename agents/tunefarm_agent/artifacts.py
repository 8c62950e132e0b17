"""Artifacts by digest: fetched once in chunks, verified, kept on disk within a limit, handed in."""

import asyncio
import contextlib
import hashlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import grpc
import grpc.aio
import structlog

from tunefarm_agent.errors import ArtifactUnavailable
from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_CHUNK = 1 << 20
_AT_ONCE = 16
_TRIES = 6
_PAUSE_SECONDS = 0.5
_SILENCE_SECONDS = 30.0
_UPLOAD_SECONDS = 300.0
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL)

_log = structlog.get_logger()


def hex_of(digest: str) -> str:
    """The 64 hex digits of "sha256:...". Raises ArtifactUnavailable: not a digest, so not a file name."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise ArtifactUnavailable(f"not a digest: {digest[:100]!r}")
    return match.group(1)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Cache:
    """Files named by their content, the least recently used dropped first. Files in use are never dropped."""

    def __init__(self, folder: Path, limit: int) -> None:
        """`limit`: bytes."""
        self._folder = folder
        self._limit = limit
        self._in_use: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self._folder / name

    def partial(self, name: str) -> Path:
        return self._folder / f"{name}.part"

    def has(self, name: str) -> bool:
        """Is it there? That counts as a use."""
        try:
            os.utime(self.path(name))
        except FileNotFoundError:
            return False
        return True

    def complete(self, name: str) -> None:
        """Take a whole partial file in. Raises ArtifactUnavailable: its content is another's."""
        partial = self.partial(name)
        if _sha256(partial) != name:
            partial.unlink()
            raise ArtifactUnavailable(f"sha256:{name} came with other content")
        partial.replace(self.path(name))

    @contextlib.contextmanager
    def using(self, names: set[str]) -> Iterator[None]:
        """Keep these files from being dropped."""
        self._in_use.update(names)
        try:
            yield
        finally:
            self._in_use.subtract(names)

    def shrink(self) -> None:
        """Drop what was not used for longest until the rest fits."""
        files = sorted((f.stat().st_mtime, f.stat().st_size, f) for f in self._folder.iterdir())
        total = sum(size for _, size, _ in files)
        for _, size, file in files:
            if total <= self._limit:
                return
            if not self._in_use[file.name.removesuffix(".part")]:
                file.unlink(missing_ok=True)
                total -= size


class Held:
    """Files that are kept in the cache until `release`."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """`files`: by digest."""
        self.files = files
        self._kept = contextlib.ExitStack()

    def keep(self, use: contextlib.AbstractContextManager[None]) -> None:
        self._kept.enter_context(use)

    def release(self) -> None:
        self._kept.close()


class Artifacts:
    """Fetches into a cache, and uploads."""

    def __init__(self, stub: farm_pb2_grpc.FarmServiceStub, cache: Cache) -> None:
        self._stub = stub
        self._cache = cache
        self._fetching: dict[str, asyncio.Lock] = {}
        self._lines = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, digests: set[str]) -> "Held":
        """The files of these digests, there until they are let go of. Raises ArtifactUnavailable."""
        names = {digest: hex_of(digest) for digest in digests}
        held = Held({digest: self._cache.path(name) for digest, name in names.items()})
        held.keep(self._cache.using(set(names.values())))
        # At once: over a long line each would wait for the one before.
        fetches = [asyncio.create_task(self._fetch_once(name)) for name in set(names.values())]
        try:
            await asyncio.gather(*fetches)
            await asyncio.to_thread(self._cache.shrink)
        except BaseException:
            for fetch in fetches:
                fetch.cancel()
            held.release()
            raise
        return held

    async def _fetch_once(self, name: str) -> None:
        """Also where two leases want it."""
        async with self._fetching.setdefault(name, asyncio.Lock()), self._lines:
            await self._fetch(name)
        self._fetching.pop(name, None)

    async def _fetch(self, name: str) -> None:
        for tried in range(_TRIES):
            if self._cache.has(name):
                return
            try:
                await self._download(name)
                await asyncio.to_thread(self._cache.complete, name)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() not in _PASSING:
                    raise ArtifactUnavailable(f"can't fetch sha256:{name}: {error.details()}") from error
                reason: Exception = error
            except TimeoutError as error:
                reason = error
            except OSError as error:
                raise ArtifactUnavailable(f"can't keep sha256:{name}: {error}") from error
            _log.info("a fetch broke off", digest=name, error=str(reason)[:200])
            await asyncio.sleep(_PAUSE_SECONDS * 2**tried)
        raise ArtifactUnavailable(f"can't fetch sha256:{name}: the coordinator does not answer")

    async def _download(self, name: str) -> None:
        """Append to the partial file what is still missing."""
        partial = self._cache.partial(name)
        offset = partial.stat().st_size if partial.exists() else 0
        call = self._stub.FetchArtifact(farm_pb2.FetchArtifactRequest(digest=f"sha256:{name}", offset=offset))
        try:
            with partial.open("ab") as file:
                while True:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        chunk = await call.read()
                    if chunk == grpc.aio.EOF:
                        break
                    file.write(chunk.data)
            code = await call.code()
            if code != grpc.StatusCode.OK:
                raise grpc.aio.AioRpcError(
                    code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
                )
        finally:
            call.cancel()

    async def upload(self, path: Path) -> str:
        """Hand a file in; its digest. Raises ArtifactUnavailable."""
        digest = f"sha256:{await asyncio.to_thread(_sha256, path)}"
        try:
            await self._stub.UploadArtifact(_chunks(path, digest), timeout=_UPLOAD_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise ArtifactUnavailable(f"can't hand in {path.name}: {error.details()}") from error
        return digest


async def _chunks(path: Path, digest: str) -> AsyncIterator[farm_pb2.UploadArtifactRequest]:
    yield farm_pb2.UploadArtifactRequest(digest=digest)
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            yield farm_pb2.UploadArtifactRequest(data=data)
