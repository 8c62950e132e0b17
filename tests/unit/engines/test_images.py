"""Compiled images on disk: found again, bounded, and never half of one."""

import os
import threading
from pathlib import Path

import pytest

from tunefarm_coordinator.engines.cuda.images import Images, key

ROOM = 1 << 20


def names(count: int) -> list[str]:
    return [key(str(number)) for number in range(count)]


def test_what_was_added_is_found_by_every_process_of_the_host(tmp_path: Path) -> None:
    images = Images(tmp_path / "images", ROOM)
    assert images.get(key("a")) is None
    images.add(key("a"), b"image of a")
    assert images.get(key("a")) == b"image of a"
    assert Images(tmp_path / "images", ROOM).get(key("a")) == b"image of a"
    assert images.get(key("b")) is None


def test_parts_of_a_name_do_not_run_into_each_other() -> None:
    assert key("source", "sm_90") == key("source", "sm_90")
    assert len({key("ab", "c"), key("a", "bc"), key("abc"), key("ab", "c", "")}) == 4


@pytest.mark.parametrize("damaged", [b"", b"half a digest", bytes(32), bytes(32) + b"image"])
def test_a_damaged_image_is_none_and_goes(tmp_path: Path, damaged: bytes) -> None:
    images = Images(tmp_path, ROOM)
    images.add(key("a"), b"image")
    (path,) = tmp_path.glob("??/*")
    path.write_bytes(damaged)
    assert images.get(key("a")) is None
    assert not path.exists()


def test_those_not_used_for_longest_go_first(tmp_path: Path) -> None:
    first, second, *rest = names(12)
    images = Images(tmp_path, ROOM)
    for age, name in enumerate([first, second, *rest]):
        images.add(name, bytes(1000))
        (path,) = tmp_path.glob(f"??/{name}")
        os.utime(path, ns=(age, age))
    assert images.get(first) is not None  # used again, now the youngest
    Images(tmp_path, 8000).add(key("newest"), bytes(1000))
    kept = [name for name in (first, second, *rest) if images.get(name) is not None]
    assert kept == [first, *rest[-4:]]
    assert images.get(key("newest")) is not None


def test_drafts_of_killed_writers_go(tmp_path: Path) -> None:
    old, young = (tmp_path / "ab" / f"{name}.draft" for name in ("old", "young"))
    old.parent.mkdir()
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (1, 1))
    Images(tmp_path, ROOM).add(key("a"), b"image")
    assert not old.exists()
    assert young.exists()


def test_many_writers_and_readers_at_once(tmp_path: Path) -> None:
    shared, wrong = names(20), []

    def work(number: int) -> None:
        images = Images(tmp_path, 20_000)  # too small for all, so that room is made meanwhile
        for turn in range(40):
            name = shared[(number + turn) % len(shared)]
            found = images.get(name)
            if found not in (None, name.encode() * 30):
                wrong.append(found)
            images.add(name, name.encode() * 30)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not list(tmp_path.glob("??/*.draft"))


def test_a_folder_that_can_not_be_written_keeps_nothing_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    images = Images(tmp_path / "file", ROOM)
    images.add(key("a"), b"image")
    assert images.get(key("a")) is None
