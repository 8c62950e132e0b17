"""What a job does with an outcome, for benchmarks that have no job: a journal event and a record, durable together."""

import asyncio
import time
from collections import Counter
from typing import Any

from tunefarm_coordinator.farm.messages import Deliver
from tunefarm_coordinator.schedules import record as rec
from tunefarm_coordinator.schedules.changes import (
    AddDevices,
    AddJob,
    AddModel,
    AddRecords,
    AppendEvents,
    Change,
    DeviceFacts,
    JournalEntry,
)
from tunefarm_coordinator.schedules.store import Store
from tunefarm_proto.v1 import common_pb2, farm_pb2


class Journal:
    """Jobs' journals and their records, in a real store."""

    def __init__(self, store: Store, target: str) -> None:
        self._store = store
        self._target = target
        self._seq: Counter[str] = Counter()

    def open(self, job: str) -> None:
        self._store.write(
            AddModel(f"model of {job}", f"digest of {job}", "", "", "m", {}, 0.0),
            AddJob(job, f"key of {job}", "", b"", f"model of {job}", "", "", "TUNING", 0.0),
        ).result()

    async def outcome(
        self, job: str, name: str, delivered: Deliver, report: farm_pb2.OutcomeReport, late: bool = False
    ) -> None:
        """Returns when it is durable."""
        outcome: rec.Outcome = (
            rec.Failed(common_pb2.FailureKind.Name(report.failed.kind).removeprefix("FAILURE_KIND_"), "as recorded")
            if report.WhichOneof("outcome") == "failed"
            else rec.Measured(tuple(report.measured.seconds))
        )
        record = rec.new_record(
            workload=name,
            target=self._target,
            identity=f"{delivered.work_id}/{delivered.index}",
            device_fingerprint=delivered.device.fingerprint,
            outcome=outcome,
            created=report.conditions.started_unix,
            project="",
            job_id=job,
            task_name=name,
            source=rec.Source.TUNED,
            conditions={"elapsed": report.conditions.elapsed},
        )
        changes: list[Change] = [
            AddDevices((DeviceFacts(delivered.device.fingerprint, dict(delivered.device.facts)),)),
            AddRecords((record,)),
        ]
        payload = {"work": name, "index": delivered.index, "seconds": list(report.measured.seconds), "late": late}
        await self._append(job, payload, *changes)

    async def lost(self, job: str, name: str, index: int, message: str) -> None:
        await self._append(job, {"work": name, "index": index, "lost": message, "late": False})

    async def _append(self, job: str, payload: dict[str, Any], *changes: Change) -> None:
        self._seq[job] += 1
        entry = JournalEntry(self._seq[job], time.time(), "item_measured", payload)
        await asyncio.wrap_future(self._store.write(AppendEvents(job, (entry,)), *changes))
