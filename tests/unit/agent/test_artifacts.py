"""The cache: content decides the name, what is in use stays."""

import hashlib
import os
from pathlib import Path

import pytest

from tunefarm_agent.artifacts import Cache, hex_of
from tunefarm_agent.errors import ArtifactUnavailable


def put(cache: Cache, data: bytes, used: float = 0.0) -> str:
    name = hashlib.sha256(data).hexdigest()
    cache.partial(name).write_bytes(data)
    cache.complete(name)
    os.utime(cache.path(name), (used, used))
    return name


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:../../etc/passwd", f"sha256:{'A' * 64}", f"md5:{'0' * 64}", f"sha256:{'0' * 64}\n"],
)
def test_only_digests_name_files(digest: str) -> None:
    with pytest.raises(ArtifactUnavailable, match="not a digest"):
        hex_of(digest)


def test_other_content_is_not_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=100)
    name = "0" * 64
    cache.partial(name).write_bytes(b"something else")
    with pytest.raises(ArtifactUnavailable, match="other content"):
        cache.complete(name)
    assert not list(tmp_path.iterdir())


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=25)
    old, new, newest = (put(cache, bytes([i]) * 10, used=i) for i in (1, 2, 3))
    assert cache.has(old), "and this is a use"
    cache.shrink()
    assert not cache.has(new)
    assert cache.has(old)
    assert cache.has(newest)


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=5)
    kept, dropped = put(cache, b"k" * 10, used=1), put(cache, b"d" * 10, used=2)
    with cache.using({kept}), cache.using({kept}):
        cache.shrink()
    assert cache.has(kept)
    assert not cache.has(dropped)
    cache.shrink()
    assert not cache.has(kept)


def test_a_file_that_is_taken_in_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path, limit=5)
    dropped = put(cache, b"d" * 10)
    gone = tmp_path / "gone.part"
    real = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: [*real(folder), gone])
    cache.shrink()
    assert not cache.has(dropped)
