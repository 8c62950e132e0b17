"""Pruning schedules: what is to stay, and what came of it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable

from tunefarm.errors import InvalidInput
from tunefarm.retracting import set_moment
from tunefarm_proto.v1 import schedule_pb2

# More schedules of one kernel than anybody measures; what the contract's number holds is about as much.
_MOST_KEPT = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Pruned:
    """How much went so far, or would go.

    Attributes:
        records, workloads: the records, and how many workloads they are of.
        traces: schedules that went with their last record.
        freed: bytes of the store's file that hold nothing any more; None: not known (PostgreSQL, a dry run).
        returned: bytes by which the file is smaller; None: not known.
        done, total: workloads looked at, and of how many.
    """

    records: int
    workloads: int
    traces: int
    freed: int | None
    returned: int | None
    done: int
    total: int

    @property
    def nothing(self) -> bool:
        return not self.records


PruneProgress = Callable[[Pruned], None]


def prune_request(
    *,
    keep_top: int,
    workload: str,
    target: str,
    device_class: str,
    project: str,
    before: datetime.datetime | None,
    dry_run: bool,
) -> schedule_pb2.PruneSchedulesRequest:
    """Raises InvalidInput where nothing would stay, or a time says no zone."""
    if not 1 <= keep_top <= _MOST_KEPT:
        raise InvalidInput(f"keep_top={keep_top}: the fastest schedule of each kernel stays, so give at least 1")
    request = schedule_pb2.PruneSchedulesRequest(
        keep_top=keep_top,
        workload=workload,
        target=target,
        device_class=device_class,
        project=project,
        dry_run=dry_run,
    )
    set_moment(request, "before", before)
    return request


def pruned_from(wire: schedule_pb2.PrunedSchedules) -> Pruned:
    return Pruned(
        records=wire.records,
        workloads=wire.workloads,
        traces=wire.traces,
        freed=wire.freed_bytes if wire.HasField("freed_bytes") else None,
        returned=wire.returned_bytes if wire.HasField("returned_bytes") else None,
        done=wire.workloads_seen,
        total=wire.workloads_total,
    )
