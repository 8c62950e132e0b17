"""What a store of schedules holds, in numbers."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunefarm_proto.v1 import schedule_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


@dataclasses.dataclass(frozen=True)
class ScopeStats:
    """Counts of one target (TVM's JSON) and device class (empty: the store does not know the devices)."""

    target: str
    device_class: str
    records: int
    valid: int
    imported: int
    workloads: int


@dataclasses.dataclass(frozen=True)
class ScheduleStats:
    """Counts of a store's records.

    Attributes:
        valid: have a time. censored: were let go early, as slower than the best by far.
        failed: of the candidate's own fault, by kind ("RUN_ERROR", ...).
        imported: were measured elsewhere.
        candidates, workloads: that have a record.
        oldest, newest: None where there is no record.
        retracted: records that were taken back; they are not among the others.
        pruned: records that were pruned, and count as trials still; they are not among the others either.
        pipeline_versions: of these workloads, the latest measured first; who changes how models are prepared makes a
            new one.
    """

    records: int
    valid: int
    censored: int
    failed: Mapping[str, int]
    imported: int
    candidates: int
    workloads: int
    oldest: datetime.datetime | None
    newest: datetime.datetime | None
    scopes: tuple[ScopeStats, ...]
    retracted: int
    pipeline_versions: tuple[str, ...] = ()
    pruned: int = 0


def stats_from(found: schedule_pb2.ScheduleStats) -> ScheduleStats:
    return ScheduleStats(
        records=found.records,
        valid=found.valid,
        censored=found.censored,
        failed=dict(found.failed),
        imported=found.imported,
        candidates=found.candidates,
        workloads=found.workloads,
        oldest=_moment(found.oldest) if found.HasField("oldest") else None,
        newest=_moment(found.newest) if found.HasField("newest") else None,
        scopes=tuple(
            ScopeStats(
                target=scope.target,
                device_class=scope.device_class,
                records=scope.records,
                valid=scope.valid,
                imported=scope.imported,
                workloads=scope.workloads,
            )
            for scope in found.scopes
        ),
        retracted=found.retracted,
        pipeline_versions=tuple(found.pipeline_versions),
        pruned=found.pruned,
    )


def _moment(wire: Timestamp) -> datetime.datetime:
    moment: datetime.datetime = wire.ToDatetime(tzinfo=datetime.UTC)
    return moment
