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
        files = []
        for file in self._folder.iterdir():
            # Another fetch may take its partial file in meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found = file.stat()
                files.append((found.st_mtime, found.st_size, file))
        files.sort()
        total = sum(size for _, size, _ in files)
        for _, size, file in files:
            if total <= self._limit:
                return
            if not self._in_use[file.name.removesuffix(".part")]:
                file.unlink(missing_ok=True)
                total -= size


class Held:
    """Files that are kept in the cache until `release`."""

    def __init__(self, files: Mapping[str, Path], use: contextlib.AbstractContextManager[None]) -> None:
        """`files`: by digest; `use`: of the cache, entered now."""
        self.files = files
        self._kept = contextlib.ExitStack()
        self._kept.enter_context(use)

    def release(self) -> None:
        self._kept.close()


class Artifacts:
    """Fetches into a cache, and uploads."""

    def __init__(self, stub: farm_pb2_grpc.FarmServiceStub, cache: Cache) -> None:
        self._stub = stub
        self._cache = cache
        self._under_way: dict[str, asyncio.Event] = {}

    async def fetch(self, digests: set[str]) -> "Held":
        """The files of these digests, there until they are let go of. Raises ArtifactUnavailable."""
        names = {digest: hex_of(digest) for digest in digests}
        files = {digest: self._cache.path(name) for digest, name in names.items()}
        held = Held(files, self._cache.using(set(names.values())))
        try:
            await self._bring(set(names.values()))
            await asyncio.to_thread(self._cache.shrink)
        except BaseException:
            held.release()
            raise
        return held

    async def _bring(self, names: set[str]) -> None:
        """Also where two leases want the same: the second waits for the first, and fetches what that one did not."""
        others = [self._under_way[name] for name in names if name in self._under_way]
        mine = {name for name in names if name not in self._under_way and not self._cache.has(name)}
        if mine:
            over = asyncio.Event()
            self._under_way.update(dict.fromkeys(mine, over))
            try:
                await self._fetch(mine)
            finally:
                for name in mine:
                    del self._under_way[name]
                over.set()
        for other in others:
            await other.wait()
        if others:
            await self._bring(names)

    async def _fetch(self, names: set[str]) -> None:
        for tried in range(_TRIES):
            try:
                await self._download(names)
                await asyncio.to_thread(self._complete, names)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() not in _PASSING:
                    raise ArtifactUnavailable(f"can't fetch what the lease needs: {error.details()}") from error
                reason: Exception = error
            except TimeoutError as error:
                reason = error
            except OSError as error:
                raise ArtifactUnavailable(f"can't keep what the lease needs: {error}") from error
            _log.info("a fetch broke off", artifacts=len(names), error=str(reason)[:200])
            await asyncio.sleep(_PAUSE_SECONDS * 2**tried)
        raise ArtifactUnavailable("can't fetch what the lease needs: the coordinator does not answer")

    async def _download(self, names: set[str]) -> None:
        """Append to the partial files what is still missing."""
        wanted = [farm_pb2.WantedArtifact(digest=f"sha256:{name}", offset=self._size(name)) for name in sorted(names)]
        call = self._stub.FetchArtifacts(farm_pb2.FetchArtifactsRequest(artifacts=wanted))
        try:
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    message = await call.read()
                if message == grpc.aio.EOF:
                    break
                for chunk in message.chunks:
                    name = hex_of(chunk.digest)
                    if name not in names:
                        raise ArtifactUnavailable(f"sha256:{name} came, which nobody asked for")
                    with self._cache.partial(name).open("ab") as file:
                        file.write(chunk.data)
            code = await call.code()
            if code != grpc.StatusCode.OK:
                raise grpc.aio.AioRpcError(
                    code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
                )
        finally:
            call.cancel()

    def _size(self, name: str) -> int:
        """Bytes that an earlier try brought."""
        partial = self._cache.partial(name)
        return partial.stat().st_size if partial.exists() else 0

    def _complete(self, names: set[str]) -> None:
        for name in names:
            self._cache.complete(name)

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
