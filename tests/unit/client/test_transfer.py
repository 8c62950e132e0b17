"""Packages: complete and unharmed, or not there; never outside their folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tuning_stand_in import file_chunks
from tunefarm.errors import BrokenTransfer, InvalidInput
from tunefarm.transfer import save_package
from tunefarm_proto.v1 import tuning_pb2


def test_writes_files_in_folders_and_replaces_older_ones(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "out"
    folder.mkdir(parents=True)
    (folder / "run.py").write_text("old")
    (folder / "mine.txt").write_text("kept")
    chunks = [*file_chunks("run.py", b"new"), *file_chunks("lib/deep/m.so", b"x" * 200_000), *file_chunks("empty", b"")]
    written = save_package(chunks, folder)
    assert written == [folder / "run.py", folder / "lib/deep/m.so", folder / "empty"]
    assert (folder / "run.py").read_bytes() == b"new"
    assert (folder / "lib/deep/m.so").stat().st_size == 200_000
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "lib", "mine.txt", "run.py"]


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "", ".", "C:/evil", "a\0b"])
def test_refuses_a_path_that_leaves_the_folder(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "out"
    with pytest.raises(BrokenTransfer, match="path"):
        save_package([*file_chunks("good", b"g"), *file_chunks(path, b"evil")], folder)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_refuses_to_follow_a_link_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "lib").symlink_to(outside)
    with pytest.raises(BrokenTransfer, match="link"):
        save_package(file_chunks("lib/m.so", b"x"), folder)
    assert list(outside.iterdir()) == []


def _damaged(kind: str) -> Iterator[tuning_pb2.PackageChunk]:
    data = b"x" * 100_000
    if kind == "empty":
        return
    if kind == "headless":
        yield tuning_pb2.PackageChunk(data=data)
    elif kind == "short":
        yield from list(file_chunks("m.so", data))[:-1]
    elif kind == "long":
        yield from file_chunks("m.so", data, size=10)
    elif kind == "altered":
        yield from file_chunks("m.so", data, sha256="0" * 64)
    elif kind == "twice":
        yield from [*file_chunks("m.so", data), *file_chunks("m.so", data)]


@pytest.mark.parametrize("kind", ["empty", "headless", "short", "long", "altered", "twice"])
def test_a_damaged_package_leaves_the_folder_as_it_was(tmp_path: Path, kind: str) -> None:
    (tmp_path / "m.so").write_text("older")
    with pytest.raises(BrokenTransfer):
        save_package(_damaged(kind), tmp_path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("m.so", "older")]


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        save_package(file_chunks("a", b"x"), tmp_path / "file" / "out")
