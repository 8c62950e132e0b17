"""What the store holds, in numbers. Methods block: from asyncio call them in a thread."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.device_reads import DeviceReads
from tunefarm_coordinator.schedules.record import RECORDED_FAILURES, Source


@dataclass(frozen=True)
class ScopeStats:
    """Counts of one target (JSON) and device class (empty: of devices that the store does not know)."""

    target: str
    device_class: str
    records: int
    valid: int
    imported: int
    workloads: int


@dataclass(frozen=True)
class StoreStats:
    """Counts of the store's records. `candidates` and `workloads` are those that have one; `oldest` and `newest` are
    Unix seconds, None where there is no record. `retracted`: records that were taken back; `pruned`: that are counted
    as trials still. Neither are among the others.
    `pipeline_versions`: of these workloads, the latest measured first."""

    records: int
    valid: int
    censored: int
    failed: Mapping[str, int]
    imported: int
    candidates: int
    workloads: int
    oldest: float | None
    newest: float | None
    scopes: tuple[ScopeStats, ...]
    retracted: int
    pruned: int
    pipeline_versions: tuple[str, ...]


class StatsReads(DeviceReads):
    """The part of the store that counts. Raises StoreError where the store can't be read."""

    def stats(self) -> StoreStats:
        """All counts, in one view of the store."""
        columns = tables.records.c
        grouped = sa.select(
            columns.workload,
            columns.target_id,
            columns.device_fingerprint,
            sa.func.count().label("records"),
            sa.func.count(columns.median).label("valid"),
            sa.func.sum(sa.case((columns.source == Source.IMPORTED.value, 1), else_=0)).label("imported"),
            sa.func.min(columns.created).label("oldest"),
            sa.func.max(columns.created).label("newest"),
        ).group_by(columns.workload, columns.target_id, columns.device_fingerprint)
        candidates = sa.select(columns.workload, columns.identity).distinct().subquery()
        with self._backend.reading() as connection:
            groups = connection.execute(grouped).all()
            ended = connection.execute(_without_time()).all()
            distinct = connection.scalar(sa.select(sa.func.count()).select_from(candidates)) or 0
            retracted, pruned = _aside(connection)
            targets = {row.target_id: row.json for row in connection.execute(sa.select(tables.targets))}
            classes = dict(self._derived(connection))
        failed = {kind: count for kind, count in ended if kind}
        return StoreStats(
            records=sum(group.records for group in groups),
            valid=sum(group.valid for group in groups),
            censored=sum(count for kind, count in ended if not kind),
            failed=failed,
            imported=sum(int(group.imported) for group in groups),
            candidates=distinct,
            workloads=len({group.workload for group in groups}),
            oldest=min((group.oldest for group in groups), default=None),
            newest=max((group.newest for group in groups), default=None),
            scopes=_scopes(groups, targets, classes),
            retracted=retracted,
            pruned=pruned,
            pipeline_versions=_pipeline_versions(groups),
        )


def _aside(connection: sa.Connection) -> tuple[int, int]:
    """How many records were taken back, and pruned."""
    aside = sa.select(sa.func.count()).select_from(tables.retracted[tables.records])
    both = sa.select(sa.func.count()).select_from(tables.pruned).where(tables.pruned.c.scope.is_(None))
    pruned = connection.scalar(sa.select(sa.func.sum(tables.pruned_scopes.c.records))) or 0
    return (connection.scalar(aside) or 0) + (connection.scalar(both) or 0), int(pruned)


def _without_time() -> sa.Select[Any]:
    """How many records have no time, by what they failed of; censored ones under an empty name."""
    columns = tables.records.c
    # an outcome is canonical JSON: what it failed of stands first
    cases = [(columns.outcome.startswith(f'{{"failed":"{kind}"', autoescape=True), kind) for kind in RECORDED_FAILURES]
    kind = sa.case(*cases, else_="").label("kind")
    return sa.select(kind, sa.func.count()).where(columns.median.is_(None)).group_by(kind)


def _pipeline_versions(groups: Iterable[Any]) -> tuple[str, ...]:
    """What the names of workloads begin with (`models.tasks.workload_of`)."""
    latest: dict[str, float] = {}
    for group in groups:
        version, dash, _ = group.workload.rpartition("-")
        if dash:
            latest[version] = max(group.newest, latest.get(version, 0.0))
    return tuple(sorted(latest, key=lambda version: (-latest[version], version)))


def _scopes(groups: Iterable[Any], targets: Mapping[str, str], classes: Mapping[str, str]) -> tuple[ScopeStats, ...]:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    workloads: dict[tuple[str, str], set[str]] = defaultdict(set)
    for group in groups:
        scope = (targets[group.target_id], classes.get(group.device_fingerprint, ""))
        counts[scope].update(records=group.records, valid=group.valid, imported=int(group.imported))
        workloads[scope].add(group.workload)
    return tuple(
        ScopeStats(
            target=target,
            device_class=name,
            records=found["records"],
            valid=found["valid"],
            imported=found["imported"],
            workloads=len(workloads[target, name]),
        )
        for (target, name), found in sorted(counts.items())
    )
