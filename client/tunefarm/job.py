"""A job as the client shows it: plain values, no wire types. Times in seconds unless a name says otherwise."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping

from tunefarm.options import TuningOptions


class JobState(enum.StrEnum):
    """Where a job is; the last three are terminal."""

    UNSPECIFIED = "UNSPECIFIED"  # a state that this program is too old to know
    QUEUED = "QUEUED"
    PREPARING = "PREPARING"
    TUNING = "TUNING"
    VERIFYING = "VERIFYING"
    PACKAGING = "PACKAGING"
    BENCHMARKING = "BENCHMARKING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Whether the job stays as it is from now on."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclasses.dataclass(frozen=True)
class TaskProgress:
    """One tuning task of a job. `weight`: how often the model runs it, the sum of the `weights` of several shape sets;
    latencies are of one call. `nodes`: ONNX nodes that it computes, in all of its calls, no more than the first 16."""

    workload: str
    name: str
    weight: int
    charged: int
    valid: int
    failed: int
    baseline_seconds: float | None
    best_seconds: float | None
    weights: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def contribution_seconds(self) -> float:
        """What the task costs in one inference, as far as is known; 0 before it was ever measured."""
        known = self.best_seconds if self.best_seconds is not None else self.baseline_seconds
        return self.weight * (known or 0.0)


@dataclasses.dataclass(frozen=True)
class Trials:
    """The ledger: charged never exceeds budget. `failed` counts by failure kind; `refunded` trials were not the
    candidates' fault (a device was lost) or never came to be."""

    budget: int
    charged: int
    valid: int
    in_flight: int
    failed: Mapping[str, int]
    refunded: int = 0


@dataclasses.dataclass(frozen=True)
class StageSeconds:
    """Wall seconds of each stage's work; stages overlap, so they don't add up to total."""

    total: float
    prepare: float
    search: float
    build: float
    measure: float
    package: float


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Milliseconds of one inference on the device; None where it can't run there.

    Medians are what is compared and shown; means are of the same samples (None too from a coordinator that does not
    send them); spreads are half the samples' interquartile range. `max_rel_error`: the greatest difference from
    the reference outputs, over their greatest magnitude. First calls are those of a new process; the samples are of
    calls that follow one another.
    """

    latency_median_ms: float | None
    untuned_latency_median_ms: float | None
    onnxruntime_latency_median_ms: float | None
    latency_mean_ms: float | None
    untuned_latency_mean_ms: float | None
    onnxruntime_latency_mean_ms: float | None
    latency_spread_ms: float | None
    untuned_latency_spread_ms: float | None
    onnxruntime_latency_spread_ms: float | None
    max_rel_error: float | None
    first_call_ms: float | None = None
    untuned_first_call_ms: float | None = None
    onnxruntime_first_call_ms: float | None = None

    @property
    def speedup(self) -> float | None:
        """Untuned over tuned latency, of the medians."""
        return _ratio(self.untuned_latency_median_ms, self.latency_median_ms)

    @property
    def onnxruntime_speedup(self) -> float | None:
        """ONNX Runtime's latency over the tuned one, of the medians."""
        return _ratio(self.onnxruntime_latency_median_ms, self.latency_median_ms)


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


@dataclasses.dataclass(frozen=True)
class ShapeSetResult:
    """One shape set of a job that has several: the shapes of all inputs, what was measured, and on which device."""

    shapes: Mapping[str, tuple[int, ...]]
    metrics: Metrics
    device: str


@dataclasses.dataclass(frozen=True)
class JobError:
    """Why a job ended FAILED; `kind` is the contract's, without its prefix: "NO_VALID_TRIAL"."""

    kind: str
    message: str


@dataclasses.dataclass(frozen=True)
class Job:
    """A job at one moment; `sequence` grows with every change. `metrics` are the first shape set's; all of them are in
    `shape_sets`, which is empty in a job with one."""

    job_id: str
    state: JobState
    name: str
    model_name: str
    project: str
    target: str
    tuner: str
    device: str
    trials: Trials
    measurements: int
    tasks: tuple[TaskProgress, ...]
    estimated_latency_ms: float | None
    trials_per_second: float
    seconds_left: float | None
    metrics: Metrics
    seconds: StageSeconds
    error: JobError | None
    has_package: bool
    created: datetime.datetime | None
    ended: datetime.datetime | None
    sequence: int
    notes: tuple[str, ...]
    shape_sets: tuple[ShapeSetResult, ...] = ()

    @property
    def progress(self) -> Progress:
        """The part of this job that moves."""
        return Progress(
            state=self.state,
            charged=self.trials.charged,
            budget=self.trials.budget,
            valid=self.trials.valid,
            failed=dict(self.trials.failed),
            trials_per_second=self.trials_per_second,
            estimated_latency_ms=self.estimated_latency_ms,
            seconds_left=self.seconds_left,
        )


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a poll callback is given."""

    state: JobState
    charged: int
    budget: int
    valid: int
    failed: Mapping[str, int]
    trials_per_second: float
    estimated_latency_ms: float | None
    seconds_left: float | None

    @property
    def fraction(self) -> float:
        """Charged trials over the budget, 0 to 1; 1 once the job is terminal."""
        if self.state.terminal:
            return 1.0
        return min(1.0, self.charged / self.budget) if self.budget else 0.0


@dataclasses.dataclass(frozen=True)
class PlannedTask:
    """One task that a job would have. `first_round_trials` 0: it gets nothing. `weight` is the sum of the `weights` of
    several shape sets.

    `template` and `trials` (the most that it will be given) are AutoTVM's: a task without a template keeps its
    default schedule. Auto-scheduler decides as it goes: no template, `trials` None. `nodes`: the ONNX nodes that the
    kernel computes, in all of its calls; empty where they are not known.
    """

    workload: str
    name: str
    weight: int
    flops: float
    known_records: int
    first_round_trials: int
    template: str
    trials: int | None
    weights: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a job would do, before anything is spent; `budget` in trials.

    `options`: the tuner's, defaults filled in; None from a coordinator that does not tell. `estimated_seconds` comes
    from the pace (`trials_per_second`) of the last `measured_jobs` jobs like it; None: nothing was measured there yet.
    `allow_tf32`: float32 products may round their factors to TF32. `exact_math`: exp, tanh and their like are libm's on
    CPUs, and convolutions direct sums. `shape_sets`: the shapes of all inputs, of each set.
    """

    target: str
    tuner: str
    tasks: tuple[PlannedTask, ...]
    budget: int
    layout: str
    pipeline_version: str
    notes: tuple[str, ...]
    options: TuningOptions | None
    estimated_seconds: float | None
    trials_per_second: float | None
    measured_jobs: int
    allow_tf32: bool = False
    exact_math: bool = False
    shape_sets: tuple[Mapping[str, tuple[int, ...]], ...] = ()


@dataclasses.dataclass(frozen=True)
class Device:
    """A device of the farm as the coordinator sees it now.

    Attributes:
        measured, failed: outcomes since the coordinator started, and those of them that failed.
        remeasured: measurements that were not believed, as the device was slowed, and made again.
        temperature: degrees Celsius; None where the agent can't read it.
        trials_per_second: outcomes a second, lately.
        reference_seconds: one call of the target's reference kernel, as last timed; None before that.
    """

    device_id: str
    agent_id: str
    name: str
    fingerprint: str
    target: str
    state: str
    reason: str
    running: str
    measured: int
    failed: int
    last_seen: datetime.datetime | None
    device_class: str
    labels: Mapping[str, str]
    facts: Mapping[str, str]
    temperature: float | None
    trials_per_second: float
    reference_seconds: float | None
    remeasured: int

    @property
    def failure_share(self) -> float | None:
        """Failed outcomes over all, 0 to 1; None before the first."""
        return self.failed / self.measured if self.measured else None
