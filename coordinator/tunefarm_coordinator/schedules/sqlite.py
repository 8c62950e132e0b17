"""SQLite in WAL mode: the default store, one file."""

import logging
import os
import sqlite3
from pathlib import Path

import filelock
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tunefarm_coordinator.errors import InvalidInput, StoreError
from tunefarm_coordinator.schedules.backend import ANOTHER_STORE, IN_USE, Backend

log = logging.getLogger(__name__)

APPLICATION_ID = 0x7EF0_FA12  # in the file's header, so that another program's file is never taken for a store
_BUSY_MS = 5000
# Of pages, for each connection that reads: the upper levels of the records' indices at millions of records, which
# SQLite's own 2 MB are too small for, so that it reads them from the system at every turn.
_READING_CACHE_KIB = 16 << 10
_PAGES_AT_ONCE = 1000  # that one call gives back
_INCREMENTAL = 2  # as PRAGMA auto_vacuum has it
# A file of before that can give nothing back is written anew once so much of it is free.
_FREE_SHARE = 0.25


class SQLiteBackend(Backend):
    """One file, with its `-wal`, `-shm` and `.lock` beside it."""

    def __init__(self, url: sa.URL) -> None:
        if not url.database or url.database == ":memory:":
            raise InvalidInput(f"{url} names no file; write sqlite:///FILE")
        self._path = Path(url.database).absolute()
        url = url.set(database=str(self._path))
        super().__init__(url, _engine(url, writing=True), _engine(url, writing=False))
        self._lock_path = self._path.with_name(self._path.name + ".lock")
        self._lock = filelock.FileLock(self._lock_path, timeout=0, thread_local=False)

    def acquire(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._lock_path.write_text(f"{os.getpid()}\n")
        except filelock.Timeout as error:
            raise StoreError(
                f"the store {self.name} is in use by another coordinator (pid {self._owner()}, lock"
                f" {self._lock_path}): {IN_USE}"
            ) from error
        except OSError as error:
            raise StoreError(f"the store {self.name} can't be opened: {error}") from error

    def release(self) -> None:
        super().release()
        self._lock.release()

    def check_is_ours(self) -> None:
        try:
            with self.writing() as connection:
                found = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
                tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
                if found != APPLICATION_ID and tables:
                    raise StoreError(f"{self._path} is another program's SQLite file: {ANOTHER_STORE}")
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        except DBAPIError as error:
            raise self._open_error(error) from error

    def used_bytes(self, connection: sa.Connection) -> int:
        pages, free, size = (_pragma(connection, name) for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def give_back(self, connection: sa.Connection) -> int:
        if _pragma(connection, "auto_vacuum") != _INCREMENTAL:
            return 0
        before = _pragma(connection, "page_count")
        cursor = connection.connection.cursor()
        for _ in range(_PAGES_AT_ONCE):
            # SQLite frees a page a step, and Python steps once through what has no columns.
            cursor.execute("PRAGMA incremental_vacuum(1)")
        cursor.close()
        return (before - _pragma(connection, "page_count")) * _pragma(connection, "page_size")

    def tidy(self) -> None:
        with self.writing() as connection:
            pages, free = _pragma(connection, "page_count"), _pragma(connection, "freelist_count")
            if _pragma(connection, "auto_vacuum") == _INCREMENTAL or free < _FREE_SHARE * pages:
                return
        self.drop_writer()
        writer = self._writing.raw_connection()
        try:
            # `prepare` has told this connection what VACUUM is to make of the file; outside of a transaction.
            writer.cursor().execute("VACUUM")
        except sqlite3.OperationalError as error:  # no room for a second copy: the file is as good as it was
            log.warning("the store's file keeps the room that pruning left in it", extra={"reason": str(error)})
        finally:
            writer.close()

    def _open_error(self, error: DBAPIError) -> StoreError:
        code = getattr(error.orig, "sqlite_errorname", "")
        if code in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            return StoreError(
                f"{self._path} is not a readable SQLite file ({error.orig}): put a backup in its place, or"
                f" {ANOTHER_STORE}"
            )
        return self.store_error(error)

    def _owner(self) -> str:
        try:
            return self._lock_path.read_text().strip() or "unknown"
        except OSError:
            return "unknown"


def _pragma(connection: sa.Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


def _engine(url: sa.URL, *, writing: bool) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"check_same_thread": False}, pool_size=8, max_overflow=32)

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        # Python's own transaction handling would commit around DDL and start no read transaction.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        if writing:
            # Of a new file alone: one that has tables keeps what it was made with.
            connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
            connection.execute("PRAGMA journal_mode = WAL")
            # FULL syncs the log at each commit. NORMAL outlives a killed process just as well, but not a power
            # cut, and agents forget an outcome once it is acknowledged. Group commit shares the cost.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        else:
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = {-_READING_CACHE_KIB}")

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine
