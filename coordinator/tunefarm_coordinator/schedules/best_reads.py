"""The best schedules of workloads, as they are asked for at every turn: few statements, built once.

SQLAlchemy took twice as long to build a statement as SQLite to answer it.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.schedules import ranking, tables
from tunefarm_coordinator.schedules.apply import parts, target_id
from tunefarm_coordinator.schedules.record import (
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
    """(best, True) or (contender, False) of each workload that has a valid record: as `ranking.ranked` says, of as few
    rows as that takes."""
    fastest = _fastest_verified(connection, workloads, scope)
    # Of one candidate there is nothing to compare.
    compared = _compared(connection, [name for name, rows in fastest.items() if len(rows) > 1], scope)
    chosen = {}
    for workload in workloads:
        if rows := fastest.get(workload):
            row: sa.Row[Any] | None = rows[ranking.winner(rows, compared.get(workload, []))]
        else:
            # One workload at a time: its fastest is the first in an index then, however many there are.
            row = connection.execute(_FASTEST, {**scope.given, "workload": workload}).first()
        if row is not None:
            chosen[workload] = record_of({**row._mapping, "target": scope.target}), bool(rows)
    return chosen


def _fastest_verified(
    connection: sa.Connection, workloads: Sequence[str], scope: Scope
) -> dict[str, dict[str, sa.Row[Any]]]:
    """By workload and identity the fastest valid record of our own of each verified candidate, fastest first."""
    valid: dict[str, list[sa.Row[Any]]] = defaultdict(list)
    for part in parts(workloads):
        for row in connection.execute(_OF_VERIFIED, {**scope.given, "workloads": part}).all():
            if row.median is not None:
                valid[row.workload].append(row)
    fastest: dict[str, dict[str, sa.Row[Any]]] = {}
    for workload, rows in valid.items():
        rows.sort(key=lambda row: (row.median, row.record_id))
        first = fastest[workload] = {}
        for row in rows:
            first.setdefault(row.identity, row)
    return fastest


def _compared(connection: sa.Connection, workloads: Sequence[str], scope: Scope) -> dict[str, list[ranking.Results]]:
    """The results of each workload's comparisons, oldest first."""
    rows: dict[str, list[sa.Row[Any]]] = defaultdict(list)
    for part in parts(workloads):
        for row in connection.execute(_COMPARISONS, {**scope.given, "workloads": part}).all():
            rows[row.workload].append(row)
    return {workload: [_results(row.results) for row in ranking.in_time(found)] for workload, found in rows.items()}


def _results(text: str) -> ranking.Results:
    return [(identity, outcome_of(outcome)) for identity, outcome in json.loads(text)]


def verifications_of(
    connection: sa.Connection, workloads: Sequence[str], scope: Scope
) -> dict[str, list[Verification]]:
    """What was checked of each workload's candidates; those of which something was."""
    found: dict[str, list[Verification]] = defaultdict(list)
    for part in parts(workloads):
        for row in connection.execute(_VERIFICATIONS, {**scope.given, "workloads": part}):
            found[row.workload].append(Verification(**row._mapping, target=scope.target))
    return dict(found)


def record_of(row: Mapping[str, Any]) -> Record:
    """A row of the records' table, with its target's JSON as `target`."""
    read = {
        "outcome": outcome_of(json.loads(row["outcome"])),
        "conditions": json.loads(row["conditions"]),
        "source": Source(row["source"]),
    }
    fields = {name: value for name, value in row.items() if name != "median"}
    return Record(**{**fields, **read})


def _columns(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    return [column for column in table.c if column.name != "target_id"]


def _in_scope(table: sa.Table) -> sa.ColumnElement[bool]:
    devices = table.c.device_fingerprint.in_(sa.bindparam("fingerprints", expanding=True))
    return sa.and_(table.c.target_id == sa.bindparam("target"), devices)


def _of_workloads(table: sa.Table, columns: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
    workloads = table.c.workload.in_(sa.bindparam("workloads", expanding=True))
    return sa.select(*columns).where(workloads, _in_scope(table))


def _latest(ok: bool) -> sa.ColumnElement[float]:
    """When it was last found so, of a candidate's verifications."""
    checks = tables.verifications.c
    return sa.func.max(sa.case((checks.ok == sa.literal(ok), checks.created)))


_RECORDS, _CHECKS, _COMPARED = tables.records.c, tables.verifications.c, tables.comparisons.c
_FASTEST = (
    sa.select(*_columns(tables.records))
    .where(_RECORDS.workload == sa.bindparam("workload"), _in_scope(tables.records), _RECORDS.median.is_not(None))
    .order_by(_RECORDS.median, _RECORDS.record_id)
    .limit(1)
)
# `ranking.verified_candidates`, as a database says it: what is verified is found and fetched in one statement.
_VERIFIED = (
    _of_workloads(tables.verifications, [_CHECKS.workload, _CHECKS.identity])
    .group_by(_CHECKS.workload, _CHECKS.identity)
    .having(sa.or_(_latest(False).is_(None), _latest(True) > _latest(False)))
    .cte("verified")
)
# Also those that are not valid, which `_fastest_verified` leaves out: asked for valid ones, SQLite takes the index of
# medians and reads all records of the workload.
_OF_VERIFIED = (
    sa.select(*_columns(tables.records))
    .join_from(
        _VERIFIED,
        tables.records,
        sa.and_(_RECORDS.workload == _VERIFIED.c.workload, _RECORDS.identity == _VERIFIED.c.identity),
    )
    .where(_in_scope(tables.records), _RECORDS.source != Source.IMPORTED.value)
)
_VERIFICATIONS = _of_workloads(tables.verifications, _columns(tables.verifications))
_COMPARISONS = _of_workloads(
    tables.comparisons, [_COMPARED.workload, _COMPARED.created, _COMPARED.comparison_id, _COMPARED.results]
)
