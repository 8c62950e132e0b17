"""What the store has for a model's kernels, as the client shows it. Seconds are of one call."""

from __future__ import annotations

import dataclasses
import datetime


@dataclasses.dataclass(frozen=True)
class FoundSchedule:
    """A schedule that was measured.

    Attributes:
        trace: MetaSchedule's, as JSON text; empty for a record whose trace the store does not have.
        seconds: median of its samples, by its fastest record.
        verified: in a job's finals, on several inputs; otherwise its outputs were checked on one, or it was imported.
        default_schedule: what an untuned build has.
        measured: None: not known, as of what TVM's own tuner measured.
        agent_id: that reported it; empty: not known, or another farm's.
    """

    record_id: str
    candidate_id: str
    trace: str
    seconds: float
    verified: bool
    default_schedule: bool
    measured: datetime.datetime | None
    job_id: str
    project: str
    device_fingerprint: str
    agent_id: str


@dataclasses.dataclass(frozen=True)
class FoundTask:
    """A kernel of the model. `weight`: how often the model calls it. `records`: valid ones, the default schedule's left
    out. `default_seconds`: with the default schedule; None: never measured. `schedules`: the best one first (finals
    count, where it was in any), then the fastest. `nodes`: the ONNX nodes that it computes."""

    workload: str
    name: str
    weight: int
    flops: float
    nodes: tuple[str, ...]
    records: int
    default_seconds: float | None
    schedules: tuple[FoundSchedule, ...]

    @property
    def best(self) -> FoundSchedule | None:
        """What `compile` takes; None: nothing was ever measured, the default schedule is taken."""
        return self.schedules[0] if self.schedules else None


@dataclasses.dataclass(frozen=True)
class FoundSchedules:
    """What the store has for a model on a target. `device_class`: of the devices that it was measured on; empty: the
    store has no record for this target. `tasks`: most work first."""

    target: str
    device_class: str
    pipeline_version: str
    tasks: tuple[FoundTask, ...]
    notes: tuple[str, ...]
