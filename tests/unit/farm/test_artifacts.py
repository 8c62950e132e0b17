"""Artifacts on disk: whole or not there, and named by what they hold."""

import errno
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from tunefarm_coordinator.artifacts import CHUNK_BYTES, ArtifactStore, DiskFull, TooLarge
from tunefarm_coordinator.errors import InvalidInput, NotFound, StoreError


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def test_what_is_put_is_there_under_its_digest(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "new" / "folder")
    content = b"x" * (CHUNK_BYTES + 1)
    source = tmp_path / "source"
    source.write_bytes(content)
    assert store.put(content, "a") == store.put(content, "b") == store.put_file(source, "a") == digest_of(content)
    assert store.exists(digest_of(content))
    assert store.path(digest_of(content)).read_bytes() == content
    assert store.chunk(digest_of(content)) == (content[:CHUNK_BYTES], len(content))
    assert store.chunk(digest_of(content), CHUNK_BYTES) == (b"x", len(content))


@pytest.mark.parametrize(
    "name", ["", "..", "sha256:", "sha256:" + "g" * 64, "sha256:" + "0" * 64 + "\n", "/etc/passwd"]
)
def test_only_digests_name_artifacts(tmp_path: Path, name: str) -> None:
    store = ArtifactStore(tmp_path)
    for ask in (store.path, store.exists, store.chunk):
        with pytest.raises(InvalidInput):
            ask(name)


def test_an_artifact_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ArtifactStore(tmp_path).path(digest_of(b"x"))
    assert not ArtifactStore(tmp_path).exists(digest_of(b"x"))


def test_an_offset_past_the_end_is_refused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with pytest.raises(InvalidInput):
        store.chunk(store.put(b"abc", "a"), 4)


async def test_chunks_are_received_whole_or_not_at_all(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    assert await store.receive(digest_of(b"abc"), stream(b"a", b"bc")) == (digest_of(b"abc"), 3)
    with pytest.raises(InvalidInput):
        await store.receive(digest_of(b"abd"), stream(b"abc"))
    with pytest.raises(TooLarge):
        await store.receive(digest_of(b"abcd"), stream(b"ab", b"cd"), limit=3)
    assert contents(tmp_path) == [b"abc"]


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionResetError

    with pytest.raises(StoreError):
        await ArtifactStore(tmp_path).receive(digest_of(b"abc"), breaking())
    assert contents(tmp_path) == []


def test_what_an_earlier_process_left_unfinished_is_removed(tmp_path: Path) -> None:
    (tmp_path / "tmp123.part").write_bytes(b"half")
    ArtifactStore(tmp_path)
    assert contents(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: ArtifactStore, _file: BinaryIO, _digest: str, _owner: str | None) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = ArtifactStore(tmp_path)
    monkeypatch.setattr(ArtifactStore, "_finish", full)
    with pytest.raises(DiskFull, match="No space left"):
        store.put(b"abc", "a")
    assert contents(tmp_path) == []


def test_a_folder_that_can_not_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        ArtifactStore(tmp_path / "file")


def test_an_artifact_stays_until_its_last_owner_lets_go(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    shared, own = store.put(b"shared", "a"), store.put(b"own", "a")
    assert store.put(b"shared", "references") == shared
    (tmp_path / "upload.part").write_bytes(b"half")
    assert store.release("a") == 1
    assert store.exists(shared)
    assert not store.exists(own)
    assert (tmp_path / "upload.part").exists()
    assert store.release("references") == 1
    assert contents(tmp_path) == [b"half"]


def test_what_an_earlier_process_kept_belongs_to_those_who_go_on(tmp_path: Path) -> None:
    left = ArtifactStore(tmp_path).put(b"left", "a")
    store = ArtifactStore(tmp_path)
    store.inherit("a")
    assert store.release() == 0
    assert store.release("b") == 0
    assert store.exists(left)
    assert store.release("a") == 1
    ArtifactStore(tmp_path).put(b"left again", "a")
    assert ArtifactStore(tmp_path).release() == 1


async def test_an_upload_is_kept_for_an_hour(tmp_path: Path) -> None:
    now = 0.0
    store = ArtifactStore(tmp_path, lambda: now)
    digest, _ = await store.receive(digest_of(b"abc"), stream(b"abc"))
    now = 3599.0
    assert store.release("a") == 0
    now = 3601.0
    assert store.release("a") == 1
    assert not store.exists(digest)


async def test_an_upload_that_was_asked_for_goes_with_whom_it_was_for(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    digest, _ = await store.receive(digest_of(b"abc"), stream(b"abc"))
    assert store.adopt(digest, "a").read_bytes() == b"abc"
    assert store.release("b") == 0
    assert store.release("a") == 1
    with pytest.raises(NotFound):
        store.adopt(digest, "a")


def test_what_one_lets_go_of_another_may_put_meanwhile(tmp_path: Path) -> None:
    """Two threads over the same few artifacts: whoever put one finds it as long as he holds it."""
    store = ArtifactStore(tmp_path)

    def work(owner: str) -> None:
        for turn in range(60):
            held = [store.put(str(each).encode(), owner) for each in range(turn % 3 + 1)]
            assert all(store.exists(digest) for digest in held)
            store.release(owner)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, str(each)) for each in range(4)]:
            done.result()
    assert contents(tmp_path) == []
