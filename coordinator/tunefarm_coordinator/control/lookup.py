"""What the store knows of a model's kernels. The model is prepared as a job would prepare it; no device, no trial."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tunefarm_coordinator.control import targets
from tunefarm_coordinator.control.intake import Intake
from tunefarm_coordinator.control.job import JobSheet, check_spec
from tunefarm_coordinator.control.preparing import prepare_for_user
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.shape_sets import PreparedSets
from tunefarm_coordinator.errors import InvalidInput, NoDevice, NotFound
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_coordinator.schedules.record import Record, Source
from tunefarm_proto.v1 import tuning_pb2


@dataclass(frozen=True)
class KnownSchedule:
    """A schedule that was measured: its fastest record, or the one that finals decided for. `verified`: in finals, on
    several inputs; else on one."""

    record: Record
    verified: bool


@dataclass(frozen=True)
class KnownTask:
    """A kernel of the model, and what the store has for it.

    Attributes:
        records: valid ones, the default schedule's left out.
        default_seconds: the default schedule's fastest record, of one call; None: never measured.
        schedules: the best one first (finals count), then the fastest.
    """

    task: TuningTask
    records: int
    default_seconds: float | None
    schedules: tuple[KnownSchedule, ...]


@dataclass(frozen=True)
class Found:
    """`device_class`: whose records these are; empty where the store has none for the target."""

    sheet: JobSheet
    summary: PreparedSets
    device_class: str
    tasks: tuple[KnownTask, ...]


class Lookup:
    """Finds schedules; spends nothing."""

    def __init__(self, services: Services, intake: Intake) -> None:
        self._services = services
        self._intake = intake

    async def find(self, spec: tuning_pb2.JobSpec, device_class: str = "", top: int = 1) -> Found:
        """The `top` schedules of each kernel, at most.

        `device_class`: whose records count. Empty: that of the devices that serve the target now, else the only one
        that the store has records of. Raises InvalidInput (also: several classes, and none was named), NotFound
        (model, values, class), Unavailable.
        """
        check_spec(spec)
        resolved = await self._intake.resolved(spec, needs_device=False)
        sheet = await self._intake.sheet("lookup", resolved, time.time())
        summary = await prepare_for_user(self._services.compute.ask, sheet, self._services.folders)
        chosen = await self._class(summary, device_class)
        tasks = await asyncio.to_thread(self._known, summary, chosen, top)
        return Found(sheet, summary, chosen, tasks)

    def _known(self, summary: PreparedSets, device_class: str, top: int) -> tuple[KnownTask, ...]:
        store, target = self._services.store, summary.target
        workloads = [task.workload for task in summary.tasks]
        best = store.incumbents(workloads, target, device_class)
        counts = store.count_valid(workloads, target, device_class)
        defaults = store.fastest_seconds(workloads, target, device_class, (Source.BASELINE,))
        verified = store.verified(workloads, target, device_class) if top > 1 else {}
        found = []
        for task in summary.tasks:
            schedules = [KnownSchedule(*best[task.workload])] if task.workload in best else []
            if schedules and top > 1:
                known = verified.get(task.workload, frozenset())
                # One more: the best may be among them.
                others = store.history(task.workload, target, device_class, top + 1)
                first = schedules[0].record.identity
                schedules += [KnownSchedule(one, one.identity in known) for one in others if one.identity != first]
            count, default = counts.get(task.workload, 0), defaults.get(task.workload)
            found.append(KnownTask(task, count, default, tuple(schedules[:top])))
        return tuple(found)

    async def _class(self, summary: PreparedSets, wanted: str) -> str:
        store, target = self._services.store, summary.target
        if wanted:
            known = sorted(set((await asyncio.to_thread(store.device_classes)).values()))
            if wanted not in known:
                raise NotFound(f"no device of class {wanted!r} is known; {named_classes(known)}")
            return wanted
        try:
            return targets.common_class(target, self._services.farm.devices())
        except NoDevice:  # the schedules are wanted all the same
            pass
        workloads = [task.workload for task in summary.tasks]
        records = await asyncio.to_thread(store.classes_with_records, workloads, target)
        if len(records) > 1:
            raise InvalidInput(
                f"the store has schedules for this target from {len(records)} classes of devices, whose times can't be"
                f" compared: {_counted(records)}; say which with --class"
            )
        return next(iter(records), "")


def named_classes(names: list[str]) -> str:
    """The classes that there are, in words."""
    return f"known are {', '.join(names)}" if names else "no device was ever measured on"


def _counted(records: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count} records)" for name, count in sorted(records.items()))
