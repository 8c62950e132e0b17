"""Taking back what an agent, a device or a job brought: facts are put aside, and what is best is best of the rest.

They are kept, with the reason, in tables that nothing else reads; another store's copy of one stays out. Of what was
pruned before, only the counts are there to be taken back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.apply import parts
from tunefarm_coordinator.schedules.pruning import add_to_scope


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

    def of(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """Those of one of the tables, or of `_PRUNED`."""
        named = {name: getattr(self, name) for name in ("agent_id", "device_fingerprint", "job_id")}
        conditions = [table.c[name] == value for name, value in named.items() if value]
        if self.since is not None:
            conditions.append(table.c.created >= self.since)
        if self.until is not None:
            conditions.append(table.c.created < self.until)
        return sa.and_(*conditions)


@dataclass(frozen=True)
class Retracted:
    """How many facts were taken back, pruned records too, and of how many workloads the records are."""

    records: int
    verifications: int
    comparisons: int
    workloads: int


def found(connection: sa.Connection, facts: Facts) -> Retracted:
    """What `retracting` would take back. Raises InvalidInput."""
    facts.check()

    def count(table: sa.FromClause) -> int:
        return connection.scalar(sa.select(sa.func.count()).select_from(table).where(facts.of(table))) or 0

    concerned = sa.union(*(sa.select(table.c.workload).where(facts.of(table)) for table in (tables.records, _PRUNED)))
    return Retracted(
        records=count(tables.records) + count(_PRUNED),
        verifications=count(tables.verifications),
        comparisons=count(tables.comparisons),
        workloads=connection.scalar(sa.select(sa.func.count()).select_from(concerned.subquery())) or 0,
    )


def retracting(facts: Facts, reason: str, at: float) -> Callable[[sa.Connection], Retracted]:
    """A call of the writer's that takes the facts back. `at`: Unix seconds. It raises InvalidInput."""

    def work(connection: sa.Connection) -> Retracted:
        taken = found(connection, facts)
        for table, aside in tables.retracted.items():
            rows = sa.select(*table.c, sa.literal(at), sa.literal(reason)).where(facts.of(table))
            connection.execute(sa.insert(aside).from_select([column.name for column in aside.c], rows))
            connection.execute(sa.delete(table).where(facts.of(table)))
        _no_longer_count(connection, facts)
        return taken

    return work


def _no_longer_count(connection: sa.Connection, facts: Facts) -> None:
    """Of what was pruned; its names stay, so that no copy is taken in."""
    counts = sa.select(_PRUNED.c.scope, sa.func.count()).where(facts.of(_PRUNED)).group_by(_PRUNED.c.scope)
    for scope, count in connection.execute(counts).all():
        add_to_scope(connection, scope, -count)
    named = tables.pruned.c.record.in_(sa.select(_PRUNED.c.record).where(facts.of(_PRUNED)))
    connection.execute(sa.update(tables.pruned).where(named).values(scope=None))


def retracted_records(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Those of the records that were taken back here."""
    column = tables.retracted[tables.records].c.record_id
    return {known for part in parts(ids) for known in connection.scalars(sa.select(column).where(column.in_(part)))}


_SCOPES = tables.pruned_scopes.c
# Records that were pruned and count still, with what facts are found by.
_PRUNED = (
    sa.select(
        tables.pruned.c.record,
        tables.pruned.c.scope,
        tables.pruned.c.created,
        _SCOPES.workload,
        _SCOPES.device_fingerprint,
        _SCOPES.job_id,
        _SCOPES.agent_id,
    )
    .join_from(tables.pruned, tables.pruned_scopes, tables.pruned.c.scope == _SCOPES.number)
    .subquery("counted")
)
