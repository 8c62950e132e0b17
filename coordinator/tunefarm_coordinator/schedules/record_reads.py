"""Reads of records, candidates and what is best. Methods block: from asyncio call them in a thread."""

import json
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.schedules import ranking, tables
from tunefarm_coordinator.schedules.apply import parts, target_id
from tunefarm_coordinator.schedules.changes import KnownWorkload
from tunefarm_coordinator.schedules.device_reads import DeviceReads
from tunefarm_coordinator.schedules.record import (
    Comparison,
    Record,
    Source,
    Verification,
    canonical_target,
    outcome_of,
)


@dataclass(frozen=True)
class RecordFilter:
    """Which records; an empty field leaves that open. `target` is TVM's JSON in any spelling."""

    workload: str = ""
    target: str = ""
    device_class: str = ""
    project: str = ""
    valid_only: bool = False


class RecordReads(DeviceReads):
    """The part of the store that knows schedules. Raises StoreError where the store can't be read, InvalidInput
    for a target that is not JSON."""

    def workloads(self, names: Sequence[str]) -> dict[str, KnownWorkload]:
        """What is known of these workloads; unknown ones are left out."""
        columns = tables.workloads.c
        with self._backend.reading() as connection:
            rows = [
                row
                for part in parts(list(dict.fromkeys(names)))
                for row in connection.execute(sa.select(tables.workloads).where(columns.workload.in_(part)))
            ]
        return {
            row.workload: KnownWorkload(**{**row._asdict(), "module": zlib.decompress(row.module).decode()})
            for row in rows
        }

    def traces(self, workload: str, identities: Sequence[str]) -> dict[str, str]:
        """Traces (JSON text) by identity; unknown ones are left out."""
        columns = tables.candidates.c
        query = sa.select(columns.identity, columns.trace).where(columns.workload == workload)
        with self._backend.reading() as connection:
            return {
                identity: zlib.decompress(trace).decode()
                for part in parts(identities)
                for identity, trace in connection.execute(query.where(columns.identity.in_(part)))
            }

    def traces_of(self, records: Sequence[Record]) -> dict[tuple[str, str], str]:
        """Traces (JSON text) of the records' candidates by (workload, identity)."""
        columns = tables.candidates.c
        query = sa.select(columns.workload, columns.identity, columns.trace)
        named = sa.tuple_(columns.workload, columns.identity)
        wanted = list(dict.fromkeys((record.workload, record.identity) for record in records))
        with self._backend.reading() as connection:
            return {
                (workload, identity): zlib.decompress(trace).decode()
                for part in parts(wanted)
                for workload, identity, trace in connection.execute(query.where(named.in_(part)))
            }

    def records(self, wanted: RecordFilter, *, after: str = "", limit: int = 500) -> list[Record]:
        """Records that match, ordered by id, from the one behind `after`."""
        with self._backend.reading() as connection:
            columns = tables.records.c
            query = _records().where(columns.record_id > after).order_by(columns.record_id).limit(limit)
            if wanted.workload:
                query = query.where(columns.workload == wanted.workload)
            if wanted.target:
                query = query.where(columns.target_id == target_id(canonical_target(wanted.target)))
            if wanted.project:
                query = query.where(columns.project == wanted.project)
            if wanted.device_class:
                query = query.where(columns.device_fingerprint.in_(self.of_class(connection, wanted.device_class)))
            if wanted.valid_only:
                query = query.where(columns.median.is_not(None))
            return [_record(row._asdict()) for row in connection.execute(query)]

    def best(self, workload: str, target: str, device_class: str) -> tuple[Record, bool] | None:
        """(best, True); before anything is verified (contender, False); None where no record is valid."""
        return self.incumbents([workload], target, device_class).get(workload)

    def incumbents(self, workloads: Sequence[str], target: str, device_class: str) -> dict[str, tuple[Record, bool]]:
        """`best` of each workload that has one, in one view of the store."""
        chosen: dict[str, tuple[Record, bool]] = {}
        with self._backend.reading() as connection:
            scope = _Scope(target_id(canonical_target(target)), self.of_class(connection, device_class))
            for part in parts(list(dict.fromkeys(workloads))):
                chosen |= _ranked(connection, part, scope)
        return chosen

    def history(self, workload: str, target: str, device_class: str, limit: int) -> list[Record]:
        """The fastest valid record of each candidate, fastest candidate first, at most `limit` of them."""
        columns = tables.records.c
        with self._backend.reading() as connection:
            scope = _Scope(target_id(canonical_target(target)), self.of_class(connection, device_class))
            place = sa.func.row_number().over(
                partition_by=columns.identity, order_by=(columns.median, columns.record_id)
            )
            ids = sa.select(columns.record_id, place.label("place")).where(
                scope.of(tables.records, [workload]), columns.median.is_not(None)
            )
            first = ids.subquery()
            query = (
                _records()
                .where(columns.record_id.in_(sa.select(first.c.record_id).where(first.c.place == 1)))
                .order_by(columns.median, columns.record_id)
                .limit(limit)
            )
            return [_record(row._asdict()) for row in connection.execute(query)]

    def count_valid(self, workloads: Sequence[str], target: str, device_class: str) -> dict[str, int]:
        """How many valid records of candidates, the default schedule left out, each workload has that has any."""
        columns = tables.records.c
        counts: dict[str, int] = {}
        with self._backend.reading() as connection:
            scope = _Scope(target_id(canonical_target(target)), self.of_class(connection, device_class))
            for part in parts(list(dict.fromkeys(workloads))):
                query = (
                    sa.select(columns.workload, sa.func.count().label("valid"))
                    .where(
                        scope.of(tables.records, part),
                        columns.median.is_not(None),
                        columns.source != Source.BASELINE,
                    )
                    .group_by(columns.workload)
                )
                counts.update((row.workload, row.valid) for row in connection.execute(query))
        return counts


@dataclass(frozen=True)
class _Scope:
    """One target and device class. Every read of a best goes through it (design.md, invariant 5)."""

    target: str
    fingerprints: tuple[str, ...]

    def of(self, table: sa.Table, workloads: Sequence[str]) -> sa.ColumnElement[bool]:
        return sa.and_(
            table.c.workload.in_(workloads),
            table.c.target_id == self.target,
            table.c.device_fingerprint.in_(self.fingerprints),
        )


def _ranked(connection: sa.Connection, workloads: Sequence[str], scope: _Scope) -> dict[str, tuple[Record, bool]]:
    verifications: dict[str, list[Verification]] = defaultdict(list)
    for row in connection.execute(_with_target(tables.verifications, scope, workloads)):
        verifications[row.workload].append(Verification(**row._asdict()))
    comparisons: dict[str, list[Comparison]] = defaultdict(list)
    for row in connection.execute(_with_target(tables.comparisons, scope, workloads)):
        comparisons[row.workload].append(_comparison(row._asdict()))
    records: dict[str, list[Record]] = defaultdict(list)
    for row in connection.execute(_leading(scope, workloads)):
        records[row.workload].append(_record(row._asdict()))
    chosen = {
        workload: ranking.ranked(found, verifications[workload], comparisons[workload])
        for workload, found in records.items()
    }
    return {workload: choice for workload, choice in chosen.items() if choice is not None}


def _leading(scope: _Scope, workloads: Sequence[str]) -> sa.Select[Any]:
    """The records that can be contender or best: each workload's fastest, and all of candidates ever verified."""
    columns = tables.records.c
    checked = sa.select(tables.verifications.c.identity).where(
        scope.of(tables.verifications, workloads),
        tables.verifications.c.workload == columns.workload,
        tables.verifications.c.ok,
    )
    place = sa.func.row_number().over(partition_by=columns.workload, order_by=(columns.median, columns.record_id))
    valid = sa.and_(scope.of(tables.records, workloads), columns.median.is_not(None))
    first = sa.select(columns.record_id, place.label("place")).where(valid).subquery()
    fastest = sa.select(first.c.record_id).where(first.c.place == 1)
    return _records().where(valid, columns.record_id.in_(fastest) | columns.identity.in_(checked))


def _with_target(table: sa.Table, scope: _Scope, workloads: Sequence[str]) -> sa.Select[Any]:
    columns = [column for column in table.c if column.name != "target_id"]
    query = sa.select(*columns, tables.targets.c.json.label("target"))
    return query.join(tables.targets, tables.targets.c.target_id == table.c.target_id).where(scope.of(table, workloads))


def _records() -> sa.Select[Any]:
    columns = [column for column in tables.records.c if column.name not in ("target_id", "median")]
    query = sa.select(*columns, tables.targets.c.json.label("target"))
    return query.join(tables.targets, tables.targets.c.target_id == tables.records.c.target_id)


def _record(row: Mapping[str, Any]) -> Record:
    read = {
        "outcome": outcome_of(json.loads(row["outcome"])),
        "conditions": json.loads(row["conditions"]),
        "source": Source(row["source"]),
    }
    return Record(**{**row, **read})


def _comparison(row: Mapping[str, Any]) -> Comparison:
    results = tuple((identity, outcome_of(outcome)) for identity, outcome in json.loads(row["results"]))
    return Comparison(**{**row, "results": results})
