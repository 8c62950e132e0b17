"""What the job brain wants done. Each is keyed, and safe to carry out again after a restart."""

from dataclasses import dataclass

from tunefarm_coordinator.jobs.events import Artifact


@dataclass(frozen=True)
class Prepare:
    """Import the model and extract its tasks. Answered by Prepared or StageFailed."""


@dataclass(frozen=True)
class Propose:
    """Ask search for `count` new candidates of a task. Answered by Proposed."""

    round: int
    workload: str
    count: int


@dataclass(frozen=True)
class Build:
    """Build one item of a round. Answered by BuildEnded."""

    round: int
    index: int
    workload: str
    identity: str


@dataclass(frozen=True)
class MeasureItem:
    """`suspicions`: how often a device was lost over it."""

    index: int
    identity: str
    artifact: Artifact
    suspicions: int = 0


@dataclass(frozen=True)
class Measure:
    """Measure the built items of a round on one device. Answered by one ItemMeasured for each.

    `give_up`: seconds of one call; an item that is slower at first look may be let go; None: none may.
    """

    round: int
    workload: str
    items: tuple[MeasureItem, ...]
    give_up: float | None = None


@dataclass(frozen=True)
class Observe:
    """Tell search and the cost model how items did: (identity, seconds of one call or None). For an item that was let
    go early, the seconds that it takes at least: enough to know it for slow. No answer."""

    workload: str
    results: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Finalist:
    identity: str
    artifact: Artifact


@dataclass(frozen=True)
class CompareGroup:
    workload: str
    finalists: tuple[Finalist, ...]


@dataclass(frozen=True)
class Compare:
    """Check the finalists' outputs and time them in turn. Answered by one GroupCompared for each (index, group);
    an index stays the same over restarts."""

    number: int
    groups: tuple[tuple[int, CompareGroup], ...]


@dataclass(frozen=True)
class Package:
    """Compile the model: (workload, identity) of the best where it beats the default schedule. Answered by Packaged."""

    best: tuple[tuple[str, str], ...]
    number: int = 1


@dataclass(frozen=True)
class TimeKernels:
    """Time the kernels of these workloads inside package `number`, tuned and default. Answered by KernelsTimed."""

    workloads: tuple[str, ...]
    number: int = 1


@dataclass(frozen=True)
class Benchmark:
    """Time package `number`, untuned and ONNX Runtime in turn; check the outputs. Answered by Benchmarked or
    BenchmarkLost."""

    number: int = 1


@dataclass(frozen=True)
class WithdrawAll:
    """Stop everything that is under way for this job. No answer."""


Instruction = Prepare | Propose | Build | Measure | Observe | Compare | Package | TimeKernels | Benchmark | WithdrawAll
