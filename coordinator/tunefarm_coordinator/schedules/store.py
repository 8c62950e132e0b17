"""The schedule store: everything of the coordinator's that outlives it."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType

import sqlalchemy as sa

from tunefarm_coordinator.errors import StoreError
from tunefarm_coordinator.schedules import pruning, tables
from tunefarm_coordinator.schedules.access_reads import AccessReads
from tunefarm_coordinator.schedules.backend import Backend, open_backend
from tunefarm_coordinator.schedules.changes import Change
from tunefarm_coordinator.schedules.job_reads import JobReads
from tunefarm_coordinator.schedules.joining import ChangeSet, joined
from tunefarm_coordinator.schedules.merging import Offer, Taken, taking
from tunefarm_coordinator.schedules.pruning import Pruned, Pruning
from tunefarm_coordinator.schedules.record_reads import RecordReads
from tunefarm_coordinator.schedules.retracting import Facts, Retracted, found, retracting
from tunefarm_coordinator.schedules.schema import migrate
from tunefarm_coordinator.schedules.stats_reads import StatsReads
from tunefarm_coordinator.schedules.writer import Writer


class Store(JobReads, RecordReads, StatsReads, AccessReads):
    """One store, owned by this process. Writes go through one thread; reads block and may run in any thread."""

    def __init__(self, backend: Backend) -> None:
        """Use `open`."""
        super().__init__()
        self._backend = backend
        self._writer = Writer(backend, joined)

    @classmethod
    def open(cls, url: str) -> "Store":
        """Opens `sqlite:///FILE` (created if missing) or `postgresql://HOST/DATABASE`, and migrates it.

        Raises StoreError: in use by another coordinator, newer than this program, not a readable store, not
        reachable. InvalidInput: a URL that no back end serves.
        """
        backend = open_backend(url)
        try:
            backend.acquire()
            backend.check_is_ours()
            try:
                with backend.writing() as connection:
                    migrate(connection, backend.name)
                backend.tidy()
            except sa.exc.SQLAlchemyError as error:
                raise backend.store_error(error) from error
            return cls(backend)
        except StoreError:
            backend.release()
            raise

    def close(self) -> None:
        """Writes what is queued, then gives the store up."""
        self._writer.close()
        self._backend.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def failure(self) -> StoreError | None:
        """Why writing has stopped (disk full, say), or None. Nothing may be leased meanwhile."""
        return self._writer.failure

    def resume(self) -> None:
        """Writes again after the cause of `failure` was removed. Journals go on from what was stored."""
        self._writer.resume()

    def write(self, *changes: Change) -> "Future[None]":
        """Applies all changes in one transaction, or none; resolves once they are durable.

        The future fails with what a change's class names, alone; or, like every other write from then on,
        with the StoreError that is `failure`. Cancelling it does not take the write back.
        """
        return self._writer.submit(ChangeSet(changes))

    def merge(self, offers: Sequence[Offer]) -> "Future[Taken]":
        """Takes in what another store gives, all or none (`merging.taking`). InvalidInput, Conflict."""
        return self._writer.submit(taking(offers))

    def retract(self, facts: Facts, reason: str, at: float) -> "Future[Retracted]":
        """Takes facts back (`retracting`); `at` in Unix seconds. InvalidInput."""
        return self._writer.submit(retracting(facts, reason, at))

    def would_retract(self, facts: Facts) -> Retracted:
        """How much `retract` would take back. Blocks. Raises InvalidInput."""
        with self._backend.reading() as connection:
            return found(connection, facts)

    def prunable(self, wanted: Pruning) -> list[str]:
        """The workloads that `prune` is to be called with. Blocks. Raises InvalidInput."""
        with self._backend.reading() as connection:
            return pruning.concerned(connection, wanted)

    def would_prune(self, wanted: Pruning, workload: str) -> Pruned:
        """How much calling `prune` until there is no more would take. Blocks."""
        with self._backend.reading() as connection:
            return pruning.found(connection, wanted, workload, self._derived(connection))

    def prune(self, wanted: Pruning, workload: str) -> "Future[Pruned]":
        """Takes away some thousand records of the workload (`pruning`), at most. Blocks for a read, then queues."""
        return self._writer.submit(pruning.step(wanted, workload, self.device_classes(), self._backend.used_bytes))

    def give_back(self) -> "Future[int]":
        """Gives some of the room that the store no longer uses back to the file system; resolves to how many bytes.
        0: no more can be given back now."""
        return self._writer.submit(self._backend.give_back)

    def check(self) -> "Future[None]":
        """A write that nobody reads: resolves once it is durable, so that it shows whether the store can be written."""

        def work(connection: sa.Connection) -> None:
            _count_up(connection, "checks")

        return self._writer.submit(work)

    def next_epoch(self) -> int:
        """Counts the coordinator's starts: 1 for a new store, one more at each call. Blocks until durable."""

        return self._writer.submit(lambda connection: _count_up(connection, "epoch")).result()


def _count_up(connection: sa.Connection, name: str) -> int:
    """The next value of a counter that the store keeps; 1 at first."""
    row = tables.meta.c.name == name
    value = connection.scalar(sa.select(tables.meta.c.value).where(row))
    if value is None:
        connection.execute(sa.insert(tables.meta).values(name=name, value=1))
        return 1
    connection.execute(sa.update(tables.meta).where(row).values(value=value + 1))
    return int(value) + 1
