"""PostgreSQL by URL: for farms that run one already."""

import os
import socket

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

from tunefarm_coordinator.errors import InvalidInput, StoreError
from tunefarm_coordinator.schedules.backend import IN_USE, Backend

_LOCK = 0x7EF0_FA12  # advisory locks are named by number, within one database
_CONNECT_SECONDS = 5
_OWNER = """
    SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objid = %s
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class PostgreSQLBackend(Backend):
    """One database. The writing connection holds an advisory lock: if it is lost, so is the right to write."""

    def __init__(self, url: sa.URL) -> None:
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        try:
            super().__init__(url, _engine(url), _engine(url, isolation_level="REPEATABLE READ"))
        except ModuleNotFoundError as error:
            raise InvalidInput(
                f"a store on PostgreSQL needs {error.name}, which is not installed: pip install 'psycopg[binary]'"
            ) from error
        sa.event.listen(self._writing, "connect", self._lock)

    def acquire(self) -> None:
        try:
            with self.writing():
                pass
        except DBAPIError as error:
            raise self.store_error(error) from error

    def _lock(self, connection: DBAPIConnection, _: object) -> None:
        """Runs on every new writing connection, so that one opened after a loss owns the store again, or fails."""
        cursor = connection.cursor()
        try:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
            (taken,) = cursor.fetchone() or (False,)
            if not taken:
                cursor.execute(_OWNER, (_LOCK,))
                pid, name = cursor.fetchone() or ("unknown", "unknown")
                raise StoreError(
                    f"the store {self.name} is in use by another coordinator ({name}, backend pid {pid}, advisory lock"
                    f" {_LOCK}): {IN_USE}"
                )
        finally:
            cursor.close()
            connection.commit()


def _engine(url: sa.URL, **options: str) -> sa.Engine:
    name = f"tunefarm on {socket.gethostname()} pid {os.getpid()}"
    return sa.create_engine(
        url,
        connect_args={"application_name": name, "connect_timeout": _CONNECT_SECONDS},
        pool_size=8,
        max_overflow=32,
        pool_pre_ping=True,
        **options,
    )
