"""Reads of records, candidates and what is best. Methods block: from asyncio call them in a thread."""

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.schedules import pruning, ranking, tables
from tunefarm_coordinator.schedules.apply import parts, target_id
from tunefarm_coordinator.schedules.best_reads import Scope, ranked, record_of, verifications_of
from tunefarm_coordinator.schedules.changes import KnownWorkload
from tunefarm_coordinator.schedules.device_reads import DeviceReads
from tunefarm_coordinator.schedules.record import (
    Record,
    Source,
    canonical_target,
)

Shapes = tuple[tuple[int, ...], ...]

# How canonical JSON of `record.Censored` begins.
_LET_GO = '{"at_least":'


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
        query = sa.select(*(column for column in columns if column is not columns.imported))
        with self._backend.reading() as connection:
            rows = [
                row
                for part in parts(list(dict.fromkeys(names)))
                for row in connection.execute(query.where(columns.workload.in_(part)))
            ]
        return {row.workload: _workload(row._asdict()) for row in rows}

    def alike(self, kind: str, target: str, device_class: str) -> dict[str, Shapes]:
        """Workloads of this kind that have a valid record, and the shapes of their arguments."""
        known, records = tables.workloads.c, tables.records.c
        with self._backend.reading() as connection:
            scope = Scope.of_devices(target, self.of_class(connection, device_class))
            measured = sa.exists().where(
                records.workload == known.workload, scope.alone(tables.records), records.median.is_not(None)
            )
            rows = connection.execute(sa.select(known.workload, known.shapes).where(known.kind == kind, measured))
            return {row.workload: _shapes(row.shapes) for row in rows}

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
            return [record_of(row._asdict()) for row in connection.execute(query)]

    def best(self, workload: str, target: str, device_class: str) -> tuple[Record, bool] | None:
        """(best, True); before anything is verified (contender, False); None where no record is valid."""
        return self.incumbents([workload], target, device_class).get(workload)

    def incumbents(self, workloads: Sequence[str], target: str, device_class: str) -> dict[str, tuple[Record, bool]]:
        """`best` of each workload that has one, in one view of the store."""
        with self._backend.reading() as connection:
            scope = Scope.of_devices(target, self.of_class(connection, device_class))
            return ranked(connection, list(dict.fromkeys(workloads)), scope)

    def history(self, workload: str, target: str, device_class: str, limit: int) -> list[Record]:
        """The fastest valid record of each candidate, fastest candidate first, at most `limit` of them."""
        columns = tables.records.c
        with self._backend.reading() as connection:
            scope = Scope.of_devices(target, self.of_class(connection, device_class))
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
            return [record_of(row._asdict()) for row in connection.execute(query)]

    def count_valid(
        self, workloads: Sequence[str], target: str, device_class: str, *, own: bool = False
    ) -> dict[str, int]:
        """How many records of candidates that work (measured, or let go early), the default schedule left out, each
        workload has that has any; with those that were pruned. `own`: what was imported does not count."""
        columns = tables.records.c
        sources = [Source.TUNED] if own else [Source.TUNED, Source.IMPORTED]
        counts: Counter[str] = Counter()
        with self._backend.reading() as connection:
            scope = Scope.of_devices(target, self.of_class(connection, device_class))
            for part in parts(list(dict.fromkeys(workloads))):
                query = (
                    sa.select(columns.workload, sa.func.count().label("valid"))
                    .where(
                        scope.of(tables.records, part),
                        columns.median.is_not(None) | columns.outcome.startswith(_LET_GO),
                        columns.source.in_(sources),
                    )
                    .group_by(columns.workload)
                )
                counts.update({row.workload: row.valid for row in connection.execute(query)})
                counts.update(pruning.still_counted(connection, part, scope, sources))
        return dict(counts)

    def targets(self) -> list[str]:
        """Every target that something was measured for, as TVM's JSON."""
        with self._backend.reading() as connection:
            return list(connection.scalars(sa.select(tables.targets.c.json)))

    def classes_of_target(self, target: str) -> list[str]:
        """The device classes that have a valid record for the target, of whatever workload; in order."""
        columns = tables.records.c
        query = sa.select(columns.device_fingerprint).distinct()
        query = query.where(columns.target_id == target_id(canonical_target(target)), columns.median.is_not(None))
        with self._backend.reading() as connection:
            classes = self._derived(connection)
            return sorted({classes[name] for name in connection.scalars(query) if name in classes})

    def fastest_seconds(
        self, workloads: Sequence[str], target: str, device_class: str, sources: Collection[Source]
    ) -> dict[str, float]:
        """The fastest record from these sources of each workload that has a valid one, seconds of one call. Who asks
        how long a kernel takes wants this: one slow moment of a device makes no record faster."""
        columns = tables.records.c
        with self._backend.reading() as connection:
            scope = Scope.of_devices(target, self.of_class(connection, device_class))
            return {
                row.workload: row.seconds
                for part in parts(list(dict.fromkeys(workloads)))
                for row in connection.execute(
                    sa.select(columns.workload, sa.func.min(columns.median).label("seconds"))
                    .where(
                        scope.of(tables.records, part), columns.median.is_not(None), columns.source.in_(list(sources))
                    )
                    .group_by(columns.workload)
                )
            }

    def verified(self, workloads: Sequence[str], target: str, device_class: str) -> dict[str, frozenset[str]]:
        """Identities of each workload's candidates that are verified; workloads without one are left out."""
        with self._backend.reading() as connection:
            scope = Scope.of_devices(target, self.of_class(connection, device_class))
            found = verifications_of(connection, list(dict.fromkeys(workloads)), scope)
        return {workload: names for workload, all_ in found.items() if (names := ranking.verified_candidates(all_))}

    def classes_with_records(self, workloads: Sequence[str], target: str) -> dict[str, int]:
        """How many valid records of these workloads for the target each device class has that has any."""
        columns = tables.records.c
        counts: dict[str, int] = defaultdict(int)
        with self._backend.reading() as connection:
            classes = self._derived(connection)
            for part in parts(list(dict.fromkeys(workloads))):
                query = (
                    sa.select(columns.device_fingerprint, sa.func.count().label("valid"))
                    .where(
                        columns.workload.in_(part),
                        columns.target_id == target_id(canonical_target(target)),
                        columns.median.is_not(None),
                    )
                    .group_by(columns.device_fingerprint)
                )
                for row in connection.execute(query):
                    if row.device_fingerprint in classes:
                        counts[classes[row.device_fingerprint]] += row.valid
        return dict(counts)


def _records() -> sa.Select[Any]:
    columns = [column for column in tables.records.c if column.name not in ("target_id", "median")]
    query = sa.select(*columns, tables.targets.c.json.label("target"))
    return query.join(tables.targets, tables.targets.c.target_id == tables.records.c.target_id)


def _workload(row: Mapping[str, Any]) -> KnownWorkload:
    read = {"module": zlib.decompress(row["module"]).decode(), "shapes": _shapes(row["shapes"])}
    return KnownWorkload(**{**row, **read})


def _shapes(text: str) -> Shapes:
    return tuple(tuple(shape) for shape in json.loads(text))
