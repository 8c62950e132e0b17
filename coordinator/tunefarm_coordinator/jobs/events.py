"""What happens to a job. Events are the journal: replayed in order, they rebuild the job brain exactly.

Every event is plain data that survives JSON (`encode`, `decode`). Traces and artifacts are not in here: candidates
stand in the store under their identity, artifacts on disk under their digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter


@dataclass(frozen=True)
class TaskSpec:
    """One tuning task as the brain needs it.

    Attributes:
        weight: how often one inference calls the kernel; where a job has several shape sets, one of each set.
        weights: the same by shape set; empty in a job with one.
        baseline: candidate identity of the default schedule, measured beside the first round without a trial.
        incumbents: identities of the best schedules that the store knows, fastest first, measured likewise.
        known: measured trials that the store has for this workload, target and device class.
        known_seconds: the best of them, or of the default schedule, of one call; None: nothing is known.
        template: name of AutoTVM's template for it; empty: none.
        nodes: ONNX nodes that it computes; empty: not known.
    """

    workload: str
    name: str
    weight: int
    flops: float
    baseline: str
    incumbents: tuple[str, ...] = ()
    known: int = 0
    template: str = ""
    weights: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()
    known_seconds: float | None = None

    @property
    def first_weight(self) -> int:
        """How often one inference of the job's first shape set calls the kernel."""
        return self.weights[0] if self.weights else self.weight


@dataclass(frozen=True)
class Artifact:
    """A built candidate. `arguments`: (shape, dtype) in call order; `prepacks`: (argument, function)."""

    digest: str
    arguments: tuple[tuple[tuple[int, ...], str], ...]
    prepacks: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Failure:
    """`kind` is one of design.md's failure kinds, without a prefix."""

    kind: str
    message: str


@dataclass(frozen=True)
class Prepared:
    """The model was imported, and these are its tuning tasks."""

    target: str
    device_class: str
    tasks: tuple[TaskSpec, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    kind: Literal["prepared"] = "prepared"


@dataclass(frozen=True)
class StageFailed:
    """A stage can't be done at all. `error` is a JobErrorKind without its prefix."""

    error: str
    message: str
    kind: Literal["stage_failed"] = "stage_failed"


@dataclass(frozen=True)
class Proposed:
    """Search answered a round. Fewer identities than asked: the task's space has no more. `message`: why there is no
    space at all."""

    round: int
    identities: tuple[str, ...]
    seconds: float
    message: str = ""
    kind: Literal["proposed"] = "proposed"


@dataclass(frozen=True)
class BuildEnded:
    """One item of a round was built (`artifact`), or is at fault (`failure`)."""

    round: int
    index: int
    artifact: Artifact | None
    failure: Failure | None
    seconds: float
    kind: Literal["build_ended"] = "build_ended"


@dataclass(frozen=True)
class ItemMeasured:
    """The outcome of one item: samples in seconds, or let go early, or failed.

    A DEVICE_LOST or CANCELLED failure is not the candidate's fault: refunded. `remeasured`: measurements of it before
    this one that were not believed, as the device was slowed.
    """

    round: int
    index: int
    samples: tuple[float, ...] = ()
    at_least: float | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    remeasured: int = 0
    kind: Literal["item_measured"] = "item_measured"


@dataclass(frozen=True)
class ItemSuspected:
    """So many times was a device lost over this item, which is tried again: kept, so that a restart does not forgive
    it."""

    round: int
    index: int
    times: int
    kind: Literal["item_suspected"] = "item_suspected"


@dataclass(frozen=True)
class FinalistResult:
    """One finalist after the comparison: its interleaved samples, or why it is out."""

    identity: str
    samples: tuple[float, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True)
class GroupCompared:
    """The finalists of one task, group `index` of comparison `compare`, checked and timed in turn on one device."""

    compare: int
    index: int
    workload: str
    results: tuple[FinalistResult, ...]
    seconds: float = 0.0
    kind: Literal["group_compared"] = "group_compared"


@dataclass(frozen=True)
class Packaged:
    """`package` is the number of the package that was asked for: a job may make several."""

    seconds: float
    package: int = 1
    kind: Literal["packaged"] = "packaged"


@dataclass(frozen=True)
class KernelTiming:
    """One kernel inside the running model: seconds in one inference, all its calls, one sample a round.

    `tuned` with the schedule that won the comparison, `default` with the default one, round by round in turn.
    """

    workload: str
    tuned: tuple[float, ...]
    default: tuple[float, ...]


@dataclass(frozen=True)
class KernelsTimed:
    """The package's kernels were timed inside the model. None, and why, where that could not be done."""

    kernels: tuple[KernelTiming, ...]
    message: str = ""
    seconds: float = 0.0
    kind: Literal["kernels_timed"] = "kernels_timed"


@dataclass(frozen=True)
class ModelTiming:
    """Seconds of one inference: a sample a round, the median of its calls, and `first`, the first call of all; none,
    and why, where it can't run on the device."""

    name: str
    samples: tuple[float, ...] = ()
    failure: Failure | None = None
    first: float | None = None


@dataclass(frozen=True)
class SetBenchmark:
    """One shape set of a job that has several: its whole models timed in turn, on the named device."""

    timings: tuple[ModelTiming, ...]
    max_rel_error: float | None
    device: str


@dataclass(frozen=True)
class Benchmarked:
    """Whole models timed in turn; `max_rel_error` of the tuned build against the reference, and its verdict.

    Of a job with several shape sets: timings of the first, the greatest error and the verdict of all, and `sets`, of
    each what was measured; empty in a job with one.
    """

    timings: tuple[ModelTiming, ...]
    max_rel_error: float | None
    matches: bool
    message: str
    device: str
    seconds: float = 0.0
    sets: tuple[SetBenchmark, ...] = ()
    kind: Literal["benchmarked"] = "benchmarked"


@dataclass(frozen=True)
class BenchmarkLost:
    """The benchmark's device was lost more often than is retried."""

    message: str
    kind: Literal["benchmark_lost"] = "benchmark_lost"


@dataclass(frozen=True)
class TimeSpent:
    """The job's time budget is over: what is under way ends, no new trial starts."""

    kind: Literal["time_spent"] = "time_spent"


@dataclass(frozen=True)
class CancelRequested:
    reason: str
    kind: Literal["cancel_requested"] = "cancel_requested"


@dataclass(frozen=True)
class Resumed:
    """A user wants a job that has ended, or was interrupted, to go on.

    Attributes:
        key: the caller's; the same wish under the same key changes nothing.
        trials_per_kernel, kernel_trials, max_trials: new totals, charged trials included; None: as before.
        max_seconds: from now on; None: the job's own limit, from now on. The brain knows no time: it is the runner's.
    """

    key: str
    trials_per_kernel: int | None = None
    kernel_trials: int | None = None
    max_trials: int | None = None
    max_seconds: float | None = None
    kind: Literal["resumed"] = "resumed"


Event = (
    Prepared
    | StageFailed
    | Proposed
    | BuildEnded
    | ItemMeasured
    | ItemSuspected
    | GroupCompared
    | Packaged
    | KernelsTimed
    | Benchmarked
    | BenchmarkLost
    | TimeSpent
    | CancelRequested
    | Resumed
)

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def encode(event: Event) -> dict[str, Any]:
    """The event as JSON-able data."""
    data: dict[str, Any] = _ADAPTER.dump_python(event, mode="json")
    return data


def decode(data: Mapping[str, Any]) -> Event:
    """The event again. Raises pydantic.ValidationError for anything that `encode` did not write."""
    return _ADAPTER.validate_python(data)
