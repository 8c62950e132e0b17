"""What a job would come to, before anything is spent."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tunefarm_coordinator.control import targets
from tunefarm_coordinator.control.intake import Intake
from tunefarm_coordinator.control.job import (
    AUTOTVM,
    JobSheet,
    TuningOptions,
    check_spec,
    check_templates,
    tuner_of,
    tuning_options,
)
from tunefarm_coordinator.control.pace import MOST_JOBS, FinishedJob, Pace, pace_of
from tunefarm_coordinator.control.preparing import prepare_for_user
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.shape_sets import PreparedSets
from tunefarm_coordinator.control.spent import spent_on
from tunefarm_coordinator.jobs.events import TaskSpec
from tunefarm_coordinator.jobs.policy import Outlook, outlook
from tunefarm_coordinator.schedules.job_reads import Job as StoredJob
from tunefarm_coordinator.schedules.store import Store
from tunefarm_proto.v1 import tuning_pb2

# Finished jobs that are looked through for some of the same tuner and target.
LOOKED_THROUGH = 100


@dataclass(frozen=True)
class PlannedJob:
    """What a job would come to. `known`: records that the store has, by workload; `pace`: None if nothing is known."""

    sheet: JobSheet
    summary: PreparedSets
    known: dict[str, int]
    outlook: Outlook
    pace: Pace | None

    @property
    def options(self) -> TuningOptions:
        return tuning_options(self.sheet.spec)

    @property
    def estimated_seconds(self) -> float | None:
        spec = self.sheet.spec
        limit = spec.max_seconds if spec.HasField("max_seconds") else None
        return None if self.pace is None else self.pace.estimate(self.outlook.budget, limit)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before spending."""
        notes = list(self.summary.notes)
        if vectors := ", ".join(self.summary.vector_functions):
            notes.append(
                f"{vectors}: computed as vectors, exact to some units in the last place (--exact-math: libm's)"
            )
        plain = [task.name for task in self.summary.tasks if not self._tunable(task.workload)]
        if plain:
            notes.append(f"no template for {_listed(plain)}: default schedule kept, no trials")
        tunable = [task for task in self.summary.tasks if self._tunable(task.workload)]
        if enough := [task.name for task in tunable if not self._wants(task.workload)]:
            notes.append(
                f"{_listed(enough)} tuned enough by earlier jobs: their best schedules are measured again, without a"
                " trial (a larger budget searches on)"
            )
        first = self.outlook.first_rounds
        missed = [
            task.name
            for task in self.summary.tasks
            if self._tunable(task.workload) and first.get(task.workload) == 0 and self._wants(task.workload)
        ]
        if missed:
            notes.append(
                f"the budget of {self.outlook.budget} trials does not reach {_listed(missed)}: "
                "what the store has is kept, or the default schedule"
            )
        return tuple(notes)

    def _tunable(self, workload: str) -> bool:
        return self.sheet.tuner != AUTOTVM or workload in self.summary.templates

    def _wants(self, workload: str) -> bool:
        """Whether the task would get trials under a larger budget."""
        options = self.sheet.options
        if options.tuner != AUTOTVM:
            return self.outlook.quotas[workload] is None
        return self.known[workload] < options.trials_per_kernel or options.exploration_trials > 0


def _listed(names: list[str]) -> str:
    """How many, and which."""
    return f"{len(names)} {'task' if len(names) == 1 else 'tasks'} ({', '.join(names)})"


class Planner:
    """Plans jobs; spends no trial."""

    def __init__(self, services: Services, intake: Intake) -> None:
        self._services = services
        self._intake = intake

    async def plan(self, spec: tuning_pb2.JobSpec) -> PlannedJob:
        """What the job would come to. Raises InvalidInput, NotFound, NoDevice, Unavailable."""
        check_spec(spec)
        sheet = await self._intake.sheet("plan", await self._intake.resolved(spec), time.time())
        summary = await prepare_for_user(self._services.compute.ask, sheet, self._services.folders)
        check_templates(sheet.tuner, summary)
        targets.check_memory(summary.memory, summary.target, self._services.farm.devices())
        known, seconds = await self._known(summary)
        specs = tuple(
            TaskSpec(
                workload=task.workload,
                name=task.name,
                weight=task.weight,
                flops=task.flops,
                baseline="",
                known=known[task.workload],
                known_seconds=seconds.get(task.workload),
                template=summary.templates.get(task.workload, ""),
            )
            for task in summary.tasks
        )
        pace = await asyncio.to_thread(_pace, self._services.store, sheet.tuner, sheet.target)
        return PlannedJob(sheet, summary, known, outlook(sheet.options, specs), pace)

    async def _known(self, summary: PreparedSets) -> tuple[dict[str, int], dict[str, float]]:
        """What the store has for each task: how many trials, and seconds of the fastest."""
        device_class = targets.common_class(summary.target, self._services.farm.devices())
        workloads, store = [task.workload for task in summary.tasks], self._services.store
        counts, seconds = await asyncio.to_thread(spent_on, store, workloads, summary.target, device_class)
        return {workload: counts.get(workload, 0) for workload in workloads}, seconds


def _pace(store: Store, tuner: str, target: str) -> Pace | None:
    """Pace of the last finished jobs of this tuner on this target."""
    rows = store.list_jobs(states=("SUCCEEDED",), page_size=LOOKED_THROUGH).jobs
    return pace_of(list(_finished(store, rows, tuner, target)))


def _finished(store: Store, rows: Iterable[StoredJob], tuner: str, target: str) -> Iterable[FinishedJob]:
    found = 0
    for row in rows:
        spec = tuning_pb2.JobSpec.FromString(row.spec)
        if tuner_of(spec) != tuner or spec.targets[0].text != target or row.ended is None:
            continue
        times = store.event_times(row.job_id)
        # A job that went on after an end lay still in between.
        if "resumed" in times or "prepared" not in times or "item_measured" not in times:
            continue
        tuning = times["item_measured"][1] - times["prepared"][1]
        yield FinishedJob(tuning_pb2.Job.FromString(row.summary).trials.charged, row.ended - row.created, tuning)
        found += 1
        if found == MOST_JOBS:
            return
