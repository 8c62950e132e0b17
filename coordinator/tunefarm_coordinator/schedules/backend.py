"""What the store needs of a database: one writing connection, many reading ones, and sole ownership."""

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tunefarm_coordinator.errors import InvalidInput, StoreError

# What to do about a store that can't be used, in words that every command knows.
ANOTHER_STORE = "take another one: --data-dir DIR with any command, --store URL with `tunefarm serve`"
IN_USE = f"wait until it ends or stop it, use it (--connect HOST:PORT), or {ANOTHER_STORE}"


class Backend(ABC):
    """One database, owned by one coordinator from `acquire` to `release`."""

    def __init__(self, url: sa.URL, writing: sa.Engine, reading: sa.Engine) -> None:
        self.name = url.render_as_string(hide_password=True)
        self._writing = writing
        self._reading = reading
        self._writer: sa.Connection | None = None

    @abstractmethod
    def acquire(self) -> None:
        """Makes this process the only writer. Raises StoreError: in use (naming by whom), or not reachable."""

    def release(self) -> None:
        """Closes every connection and gives the ownership up."""
        self.drop_writer()
        self._writing.dispose()
        self._reading.dispose()

    def check_is_ours(self) -> None:  # noqa: B027 - a server's database is ours by its URL
        """Raises StoreError where the database is another program's. Called once, before migration."""

    def tidy(self) -> None:  # noqa: B027 - a server does so by itself
        """Makes the file smaller where much of it is free. Called once, after migration; it may take a while."""

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """The writing connection in one transaction. The writer thread's alone, once the store is open."""
        if self._writer is None:
            self._writer = self._writing.connect()
        with self._writer.begin():
            yield self._writer

    def drop_writer(self) -> None:
        """Forgets the writing connection; the next transaction opens another."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.invalidate()
            writer.close()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection with one unchanging view of the store. Raises StoreError where it can't be read."""
        try:
            with self._reading.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self.store_error(error) from error

    def used_bytes(self, connection: sa.Connection) -> int | None:  # noqa: ARG002 - for those that know
        """Bytes of the file that hold something, as this connection sees it; None: the database does not say."""
        return None

    def give_back(self, connection: sa.Connection) -> int:  # noqa: ARG002 - for those that can
        """Gives a part of what the file has free back to the file system, within the transaction; how many bytes."""
        return 0

    def store_error(self, error: Exception) -> StoreError:
        """What the user is told about a database error."""
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        if is_disk_full(error):
            return StoreError(
                f"the store {self.name} can't be written, its disk is full ({reason}): nothing more is written until"
                f" there is room again, and nothing that was stored is lost"
            )
        return StoreError(f"the store {self.name} can't be used: {' '.join(reason.split())}")


def is_disk_full(error: Exception) -> bool:
    """Whether the database says that there is no room."""
    if not isinstance(error, DBAPIError):
        return False
    if getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_FULL"):
        return True
    # 53100: PostgreSQL's disk_full
    return getattr(error.orig, "sqlstate", None) == "53100" or getattr(error.orig, "errno", None) == errno.ENOSPC


def open_backend(url: str) -> Backend:
    """The back end for a database URL. Raises InvalidInput for a URL that no back end serves."""
    from tunefarm_coordinator.schedules.postgresql import PostgreSQLBackend
    from tunefarm_coordinator.schedules.sqlite import SQLiteBackend

    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise InvalidInput(f"{url!r} is not a store URL; write sqlite:///FILE or postgresql://HOST/DATABASE") from error
    name = parsed.get_backend_name()
    if name == "sqlite":
        return SQLiteBackend(parsed)
    if name == "postgresql":
        return PostgreSQLBackend(parsed)
    raise InvalidInput(f"no store on {name!r}; write sqlite:///FILE or postgresql://HOST/DATABASE")
