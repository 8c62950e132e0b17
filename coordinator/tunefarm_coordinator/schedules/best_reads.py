"""The best schedules of workloads, as they are asked for at every turn: few statements, built once.

SQLAlchemy took twice as long to build a statement as SQLite to answer it.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.schedules import ranking, tables
from tunefarm_coordinator.schedules.apply import parts, target_id
from tunefarm_coordinator.schedules.record import (
    Comparison,
    Record,
    Source,
    Verification,
    canonical_target,
    outcome_of,
)


@dataclass(frozen=True)
class Scope:
    """One target and device class. Every read of a best goes through it (design.md, invariant 5).

    Attributes:
        target: canonical JSON; `target_id`: its name in the store.
        fingerprints: the class's devices.
    """

    target: str
    target_id: str
    fingerprints: tuple[str, ...]

    @classmethod
    def of_devices(cls, target: str, fingerprints: tuple[str, ...]) -> "Scope":
        """`target`: TVM's JSON in any spelling. Raises InvalidInput."""
        canonical = canonical_target(target)
        return cls(canonical, target_id(canonical), fingerprints)

    @property
    def given(self) -> dict[str, Any]:
        """As the statements of this module take it."""
        return {"target": self.target_id, "fingerprints": self.fingerprints}

    def of(self, table: sa.Table, workloads: Sequence[str]) -> sa.ColumnElement[bool]:
        return sa.and_(table.c.workload.in_(workloads), self.alone(table))

    def alone(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """Of whatever workload."""
        return sa.and_(table.c.target_id == self.target_id, table.c.device_fingerprint.in_(self.fingerprints))


def ranked(connection: sa.Connection, workloads: Sequence[str], scope: Scope) -> dict[str, tuple[Record, bool]]:
    """(best, True) or (contender, False) of each workload that has a valid record."""
    verifications = verifications_of(connection, workloads, scope)
    comparisons: dict[str, list[Comparison]] = defaultdict(list)
    # Who has no verification has no best yet, and nothing to compare.
    for part in parts(list(verifications)):
        for row in connection.execute(_COMPARISONS, {**scope.given, "workloads": part}):
            comparisons[row.workload].append(comparison_of({**row._mapping, "target": scope.target}))
    chosen = {}
    for workload in workloads:
        verified = verifications.get(workload, [])
        found = _leading(connection, {**scope.given, "workload": workload}, verified, scope.target)
        choice = ranking.ranked(found, verified, comparisons[workload])
        if choice is not None:
            chosen[workload] = choice
    return chosen


def verifications_of(
    connection: sa.Connection, workloads: Sequence[str], scope: Scope
) -> dict[str, list[Verification]]:
    """What was checked of each workload's candidates; those of which something was."""
    found: dict[str, list[Verification]] = defaultdict(list)
    for part in parts(workloads):
        for row in connection.execute(_VERIFICATIONS, {**scope.given, "workloads": part}):
            found[row.workload].append(Verification(**row._mapping, target=scope.target))
    return dict(found)


def _leading(
    connection: sa.Connection, given: Mapping[str, Any], verifications: Iterable[Verification], target: str
) -> list[Record]:
    """The records among which are contender and best: the workload's fastest, and all of candidates ever verified.

    One workload at a time: its fastest is the first in an index then, however many there are.
    """
    rows = [*connection.execute(_FASTEST, given)]
    for part in parts(list({each.identity for each in verifications if each.ok})):
        rows += connection.execute(_OF_CANDIDATES, {**given, "identities": part})
    return [record_of({**row._mapping, "target": target}) for row in rows]


def record_of(row: Mapping[str, Any]) -> Record:
    """A row of the records' table, with its target's JSON as `target`."""
    read = {
        "outcome": outcome_of(json.loads(row["outcome"])),
        "conditions": json.loads(row["conditions"]),
        "source": Source(row["source"]),
    }
    return Record(**{**row, **read})


def comparison_of(row: Mapping[str, Any]) -> Comparison:
    """A row of the comparisons' table, with its target's JSON as `target`."""
    results = tuple((identity, outcome_of(outcome)) for identity, outcome in json.loads(row["results"]))
    return Comparison(**{**row, "results": results})


def _columns(table: sa.Table, *without: str) -> list[sa.ColumnElement[Any]]:
    return [column for column in table.c if column.name not in ("target_id", *without)]


def _in_scope(table: sa.Table) -> sa.ColumnElement[bool]:
    devices = table.c.device_fingerprint.in_(sa.bindparam("fingerprints", expanding=True))
    return sa.and_(table.c.target_id == sa.bindparam("target"), devices)


def _facts(table: sa.Table) -> sa.Select[Any]:
    workloads = table.c.workload.in_(sa.bindparam("workloads", expanding=True))
    return sa.select(*_columns(table)).where(workloads, _in_scope(table))


_RECORDS = tables.records.c
_OF_ONE = sa.select(*_columns(tables.records, "median")).where(
    _RECORDS.workload == sa.bindparam("workload"), _in_scope(tables.records)
)
_FASTEST = _OF_ONE.where(_RECORDS.median.is_not(None)).order_by(_RECORDS.median, _RECORDS.record_id).limit(1)
# Also those that are not valid, which `ranking` leaves out: asked for valid ones, SQLite takes the index of medians and
# reads all records of the workload.
_OF_CANDIDATES = _OF_ONE.where(_RECORDS.identity.in_(sa.bindparam("identities", expanding=True)))
_VERIFICATIONS = _facts(tables.verifications)
_COMPARISONS = _facts(tables.comparisons)
