"""The store's one writer: a thread that commits what has queued up in one transaction (group commit)."""

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from tunefarm_coordinator.errors import Conflict, InvalidInput, StoreError, TunefarmError
from tunefarm_coordinator.schedules.backend import Backend

T = TypeVar("T")
Work = Callable[[sa.Connection], Any]
_Call = tuple[Work, "Future[Any]"]
_Answer = tuple[Any, TunefarmError | None]

# Bounds how long a group's first call waits for the rest; the cost of a commit is shared well before.
LARGEST_GROUP = 256


class Writer:
    """Runs calls one by one, in the order of `submit`, each in a savepoint of the group's transaction; or, where `join`
    makes one call of neighbours, that one, and each by itself only if it fails.

    A call that fails with its own error fails alone. When the database itself fails, the whole group and
    everything after it fail with the same StoreError, until `resume` or a restart: what was acknowledged is
    durable, and nothing is written after a hole.
    """

    def __init__(self, backend: Backend, join: Callable[[Sequence[Work]], Work | None]) -> None:
        """`join`: one call that does what the given ones do, or None where they can't be joined."""
        self._backend = backend
        self._join = join
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards _failure together with what is put into the queue
        self._failure: StoreError | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> StoreError | None:
        """Why nothing is written any more, or None."""
        return self._failure

    def submit(self, work: Callable[[sa.Connection], T]) -> "Future[T]":
        """Queues a call; the future resolves once its group's commit is durable.

        It can't be cancelled: someone who stops waiting doesn't take a write back.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._failure is None:
                self._queue.put((work, future))
                return future
            failure = self._failure
        future.set_exception(failure)
        return future

    def resume(self) -> None:
        """Writes again after the cause of `failure` was removed; a failure that stays shows at the next write."""
        with self._lock:
            if self._thread.is_alive():
                self._failure = None

    def close(self) -> None:
        """Writes what is queued, then ends the thread. Later calls fail."""
        with self._lock:
            self._failure = self._failure or StoreError("the store is closed")
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            try:
                self._commit(group)
            except BaseException as error:
                # A bug: no one may wait for ever because of it.
                self._stop(StoreError(f"the store's writer died: {error!r}; restart the coordinator"), group)
                raise
            if last:
                return

    def _next_group(self) -> tuple[list[_Call], bool]:
        group: list[_Call] = []
        call = self._queue.get()
        while call is not None:
            group.append(call)
            if len(group) >= LARGEST_GROUP:
                return group, False
            try:
                call = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Call]) -> None:
        if not group:
            return
        try:
            with self._backend.writing() as connection:
                answers = self._answers(connection, [work for work, _ in group])
        except (SQLAlchemyError, StoreError) as error:
            self._backend.drop_writer()
            self._stop(error if isinstance(error, StoreError) else self._backend.store_error(error), group)
            return
        for (_, future), (value, failure) in zip(group, answers, strict=True):
            if failure is None:
                future.set_result(value)
            else:
                future.set_exception(failure)

    def _answers(self, connection: sa.Connection, works: list[Work]) -> "list[_Answer]":
        """What comes of each call, in order."""
        answers: list[_Answer] = []
        for neighbours in _runs(works, lambda work: self._join([work]) is not None):
            whole = self._join(neighbours) if len(neighbours) > 1 else None
            if whole is not None and _attempt(connection, whole)[1] is None:
                answers += [(None, None)] * len(neighbours)
            else:
                answers += [_attempt(connection, work) for work in neighbours]
        return answers

    def _stop(self, failure: StoreError, group: list[_Call]) -> None:
        with self._lock:
            self._failure = failure
            waiting = list(group)
            closing = False
            while not self._queue.empty():
                call = self._queue.get_nowait()
                closing = closing or call is None
                waiting += [call] if call is not None else []
            if closing:
                self._queue.put(None)
        for _, future in waiting:
            if not future.done():
                future.set_exception(failure)


def _runs(works: list[Work], joinable: Callable[[Work], bool]) -> list[list[Work]]:
    """The calls in order, cut where they can't be joined."""
    return [list(run) for _, run in itertools.groupby(works, joinable)]


def _attempt(connection: sa.Connection, work: Work) -> _Answer:
    """(value, None), or (None, the call's own error) with nothing of the call written."""
    savepoint = connection.begin_nested()
    try:
        value = work(connection)
    except StoreError:
        raise
    except TunefarmError as error:
        failure: TunefarmError = error
    except IntegrityError as error:
        failure = Conflict(f"the store can't hold this beside what it has: {error.orig}")
        failure.__cause__ = error
    except (DataError, UnicodeError, OverflowError) as error:
        failure = InvalidInput(f"the store can't hold this value: {error}")
        failure.__cause__ = error
    else:
        savepoint.commit()
        return value, None
    savepoint.rollback()
    return None, failure
