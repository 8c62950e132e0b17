"""What a power loss leaves: a copy of what was synced stands for the disk."""

import os
from pathlib import Path

import pytest

from tunefarm_coordinator.durable_files import put_in_place


class FakeDisk:
    """Keeps of a folder what was synced: a file's bytes, a folder's names, each as it was at its last fsync."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, int]] = {}
        sync = os.fsync

        def fsync(handle: int) -> None:
            path = Path(f"/proc/self/fd/{handle}").readlink()
            if path.is_dir():
                self._folders[path.stat().st_ino] = {each.name: each.stat().st_ino for each in path.iterdir()}
            else:
                self._files[path.stat().st_ino] = path.read_bytes()
            sync(handle)

        monkeypatch.setattr(os, "fsync", fsync)

    def survives(self, path: Path) -> dict[str, bytes]:
        """Files of a folder, or the file itself, by path below the root, as they are after the loss."""
        inode = self._root.stat().st_ino
        for part in path.relative_to(self._root).parts:
            inode = self._folders.get(inode, {}).get(part, 0)
        return self._found(inode, str(path.relative_to(self._root)))

    def _found(self, inode: int, name: str) -> dict[str, bytes]:
        if inode in self._files:
            return {name: self._files[inode]}
        found: dict[str, bytes] = {}
        for each, number in self._folders.get(inode, {}).items():
            found |= self._found(number, f"{name}/{each}")
        return found


def test_a_folder_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = tmp_path / "draft"
    (draft / "inner").mkdir(parents=True)
    (draft / "a").write_bytes(b"a")
    (draft / "inner" / "b").write_bytes(b"b")
    disk = FakeDisk(tmp_path, monkeypatch)
    place = tmp_path / "made" / "on the way" / "place"
    put_in_place(draft, place)
    name = "made/on the way/place"
    assert disk.survives(place) == {f"{name}/a": b"a", f"{name}/inner/b": b"b"}


def test_what_is_only_moved_does_not_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake disk can tell."""
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / "a").write_bytes(b"a")
    disk = FakeDisk(tmp_path, monkeypatch)
    (tmp_path / "draft").rename(tmp_path / "place")
    assert disk.survives(tmp_path / "place") == {}


def test_a_file_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "place").write_bytes(b"old")
    (tmp_path / "draft").write_bytes(b"new")
    disk = FakeDisk(tmp_path, monkeypatch)
    put_in_place(tmp_path / "draft", tmp_path / "place")
    assert disk.survives(tmp_path / "place") == {"place": b"new"}
