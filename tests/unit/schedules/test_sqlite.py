"""What only a file can be: unreadable, another program's, full."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.schedules.schedule_examples import DEVICES, WORKLOAD, append, job, model, record
from tunefarm_coordinator.errors import InvalidInput, StoreError
from tunefarm_coordinator.schedules.changes import AddRecords
from tunefarm_coordinator.schedules.pruning import Pruning
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    Store.open(_url(tmp_path / "data" / "tunefarm" / "store.db")).close()
    assert (tmp_path / "data" / "tunefarm" / "store.db").is_file()


def test_a_commit_is_on_the_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    """A power cut can't be had in a test: this holds the setting that outlives one."""
    seen: list[tuple[str, int]] = []

    def look(connection: sa.Connection) -> None:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        seen.append((mode, connection.exec_driver_sql("PRAGMA synchronous").scalar_one()))

    sa.event.listen(sa.engine.Engine, "commit", look)
    try:
        with Store.open(_url(tmp_path / "store.db")) as store:
            seen.clear()
            store.write(model()).result()
    finally:
        sa.event.remove(sa.engine.Engine, "commit", look)
    assert ("wal", 2) in seen  # 2: FULL


def test_what_is_no_database_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"these are my holiday notes\n" * 400)
    with pytest.raises(StoreError, match=r"store\.db is not a readable SQLite file"):
        Store.open(_url(path))
    assert path.read_bytes() == b"these are my holiday notes\n" * 400


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(_url(path)).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(StoreError, match=r"store\.db"):
        Store.open(_url(path))


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="another program's"):
        Store.open(_url(path))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
    connection.close()


def _under_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "store.db"


def _a_folder(folder: Path) -> Path:
    (folder / "store.db").mkdir()
    return folder / "store.db"


@pytest.mark.parametrize("place", [_under_a_file, _a_folder])
def test_where_no_file_can_be_is_named(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    path = place(tmp_path)
    with pytest.raises(StoreError, match=str(path)):
        Store.open(_url(path))


@pytest.mark.parametrize("url", ["store.db", "sqlite://", "sqlite:///:memory:", "mysql://host/farm", ""])
def test_what_is_no_store_url_says_what_to_write(url: str) -> None:
    with pytest.raises(InvalidInput, match="write sqlite:///FILE"):
        Store.open(url)


def test_another_process_is_named_and_its_death_frees_the_store(tmp_path: Path) -> None:
    url = _url(tmp_path / "store.db")
    script = (
        "import sys, time; from tunefarm_coordinator.schedules.store import Store\n"
        "store = Store.open(sys.argv[1]); print('open', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=rf"pid {process.pid}\b"):
            Store.open(url)
        process.send_signal(signal.SIGKILL)
    with Store.open(url) as store:
        assert store.next_epoch() == 1


class TestFullDisk:
    """SQLite's own page limit stands for the disk's: the same error code, at the same place."""

    def test_it_stops_writing_loses_nothing_and_goes_on_when_told(self, tmp_path: Path) -> None:
        def limit(connection: sqlite3.Connection, _: object) -> None:
            connection.execute("PRAGMA max_page_count = 60")

        sa.event.listen(sa.pool.Pool, "connect", limit)
        try:
            store = Store.open(_url(tmp_path / "store.db"))
            store.write(model(), job()).result()
            written = self._fill(store)
        finally:
            sa.event.remove(sa.pool.Pool, "connect", limit)
        with store:
            assert "disk is full" in str(store.failure)
            # room or not: nothing is written behind the hole until someone says so
            with pytest.raises(StoreError, match="disk is full"):
                store.write(append("j1", written + 1)).result()
            assert [event.seq for event in store.events("j1")] == list(range(1, written + 1))

            store.resume()
            assert store.failure is None
            store.write(append("j1", written + 1)).result()
        with Store.open(_url(tmp_path / "store.db")) as again:
            assert len(again.events("j1")) == written + 1

    def _fill(self, store: Store) -> int:
        """Appends, ten writes at a time, until one fails; returns how many were acknowledged."""
        seq = 0
        while True:
            futures = [store.write(append("j1", seq + number)) for number in range(1, 11)]
            kept = [future.exception() is None for future in futures]
            assert kept == sorted(kept, reverse=True)  # none behind the first that failed
            seq += sum(kept)
            if not all(kept):
                return seq

    def test_a_device_that_takes_no_more_bytes(self, tmp_path: Path) -> None:
        """The kernel refuses the write itself (RLIMIT_FSIZE in a process of its own)."""
        script = (
            "import resource, sys\n"
            "from tests.unit.schedules.schedule_examples import append, job, model\n"
            "from tunefarm_coordinator.errors import StoreError\n"
            "from tunefarm_coordinator.schedules.store import Store\n"
            "store = Store.open(sys.argv[1])\n"
            "store.write(model(), job()).result()\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))\n"
            "seq = 0\n"
            "try:\n"
            "    while seq < 5000:\n"
            "        store.write(append('j1', seq + 1)).result()\n"
            "        seq += 1\n"
            "except StoreError as error:\n"
            "    print(seq, store.failure is error)\n"
        )
        path = tmp_path / "store.db"
        result = subprocess.run(
            [sys.executable, "-c", script, _url(path)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        acknowledged, stopped = result.stdout.split()
        assert stopped == "True", result.stderr
        with Store.open(_url(path)) as store:
            assert [event.seq for event in store.events("j1")] == list(range(1, int(acknowledged) + 1))


def _much(store: Store) -> None:
    """Three megabytes of one kernel's, of which six candidates stay."""
    records = [
        record(f"c{at}", 1e-3 + at * 1e-6, conditions={f"sensor {number}": 1.0 * at for number in range(40)})
        for at in range(2000)
    ]
    store.write(DEVICES, AddRecords(tuple(records))).result()


def _prune(store: Store) -> int:
    """Bytes freed."""
    freed, more = 0, True
    while more:
        step = store.prune(Pruning(keep_top=1), WORKLOAD).result()
        freed, more = freed + (step.freed or 0), step.more
    return freed


def _size(path: Path) -> int:
    """Of the file, with nothing left in its log."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return path.stat().st_size


def test_room_that_pruning_leaves_goes_back_to_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(_url(path)) as store:
        _much(store)
        before = _size(path)
        freed = _prune(store)
        largest, returned = _size(path), 0
        while given := store.give_back().result():
            returned += given
        assert largest - _size(path) == returned >= freed > 2_000_000
        assert before - _size(path) == freed  # what the names of what went take is off it
        assert len(store.records(RecordFilter())) == 6


def test_a_file_of_before_is_written_anew_when_it_is_opened(tmp_path: Path) -> None:
    """One that was made without room for incremental vacuum: what is free in it stays free until then."""
    path = tmp_path / "store.db"
    Store.open(_url(path)).close()
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    with Store.open(_url(path)) as store:
        _much(store)
    with Store.open(_url(path)) as store:
        before = _size(path)
        assert _prune(store) > 2_000_000
        assert store.give_back().result() == 0
        assert _size(path) >= before
    with Store.open(_url(path)) as store:
        assert before - _size(path) > 2_000_000
        assert len(store.records(RecordFilter())) == 6
        _much(store)
        _prune(store)
        assert store.give_back().result() > 0
