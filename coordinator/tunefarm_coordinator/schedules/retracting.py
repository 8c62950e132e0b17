"""Taking back what an agent, a device or a job brought: facts are put aside, and what is best is best of the rest.

They are kept, with the reason, in tables that nothing else reads; another store's copy of one stays out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.apply import parts


@dataclass(frozen=True)
class Facts:
    """Which records, verifications and comparisons; what is empty or None leaves that open.

    Attributes:
        since, until: Unix seconds, of when they were made; `until` is not among them.
    """

    agent_id: str = ""
    device_fingerprint: str = ""
    job_id: str = ""
    since: float | None = None
    until: float | None = None

    def check(self) -> None:
        """Raises InvalidInput where all facts of the store would be meant."""
        if self == Facts():
            raise InvalidInput("whose schedules are to be taken back? Name an agent, a device, a job or a time")

    def of(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """Those of one of the tables."""
        named = {name: getattr(self, name) for name in ("agent_id", "device_fingerprint", "job_id")}
        conditions = [table.c[name] == value for name, value in named.items() if value]
        if self.since is not None:
            conditions.append(table.c.created >= self.since)
        if self.until is not None:
            conditions.append(table.c.created < self.until)
        return sa.and_(*conditions)


@dataclass(frozen=True)
class Retracted:
    """How many facts were taken back, and of how many workloads the records are."""

    records: int
    verifications: int
    comparisons: int
    workloads: int


def found(connection: sa.Connection, facts: Facts) -> Retracted:
    """What `retracting` would take back. Raises InvalidInput."""
    facts.check()

    def count(table: sa.Table, what: sa.ColumnElement[int]) -> int:
        return connection.scalar(sa.select(what).select_from(table).where(facts.of(table))) or 0

    return Retracted(
        records=count(tables.records, sa.func.count()),
        verifications=count(tables.verifications, sa.func.count()),
        comparisons=count(tables.comparisons, sa.func.count()),
        workloads=count(tables.records, sa.func.count(tables.records.c.workload.distinct())),
    )


def retracting(facts: Facts, reason: str, at: float) -> Callable[[sa.Connection], Retracted]:
    """A call of the writer's that takes the facts back. `at`: Unix seconds. It raises InvalidInput."""

    def work(connection: sa.Connection) -> Retracted:
        taken = found(connection, facts)
        for table, aside in tables.retracted.items():
            rows = sa.select(*table.c, sa.literal(at), sa.literal(reason)).where(facts.of(table))
            connection.execute(sa.insert(aside).from_select([column.name for column in aside.c], rows))
            connection.execute(sa.delete(table).where(facts.of(table)))
        return taken

    return work


def retracted_records(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Those of the records that were taken back here."""
    column = tables.retracted[tables.records].c.record_id
    return {known for part in parts(ids) for known in connection.scalars(sa.select(column).where(column.in_(part)))}
