"""One job as its runner sees it: what was asked for, resolved."""

from dataclasses import dataclass
from pathlib import Path

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_proto.v1 import tuning_pb2

DEFAULT_TRIALS_PER_KERNEL = 1000
DEFAULT_EARLY_STOPPING = 250
# The platform's is 10; with interleaved finals more than three seldom change who wins, and each costs time.
DEFAULT_FINALISTS = 3


@dataclass(frozen=True)
class JobSheet:
    """Never changes while the job lives.

    Attributes:
        model: the `.onnx` file.
        shapes: fixed shape of every input.
        target: TVM's JSON, resolved when the job was submitted.
        created: seconds since the epoch.
    """

    job_id: str
    spec: tuning_pb2.JobSpec
    model: Path
    model_name: str
    shapes: dict[str, tuple[int, ...]]
    target: str
    created: float

    @property
    def options(self) -> JobOptions:
        """The brain's options; what the user did not give is the platform's default."""
        given = self.spec.autoscheduler
        trials = given.trials_per_kernel if given.HasField("trials_per_kernel") else DEFAULT_TRIALS_PER_KERNEL
        patience = (
            given.early_stopping_threshold if given.HasField("early_stopping_threshold") else DEFAULT_EARLY_STOPPING
        )
        cap = self.spec.max_trials if self.spec.HasField("max_trials") else None
        finalists = given.top_trials_per_kernel if given.HasField("top_trials_per_kernel") else DEFAULT_FINALISTS
        return JobOptions(trials, patience, max_trials=cap, finalists=finalists)

    @property
    def tuner(self) -> str:
        return "autoscheduler"

    @property
    def seed(self) -> int:
        return int(self.spec.seed) if self.spec.HasField("seed") else 0


def check_spec(spec: tuning_pb2.JobSpec) -> None:
    """Raises InvalidInput for what can't be served, before anything is spent."""
    if len(spec.targets) > 1:
        raise InvalidInput(f"{len(spec.targets)} targets: a job is served for one target; submit one job for each")
    if len(spec.shape_sets) > 1:
        raise InvalidInput(f"{len(spec.shape_sets)} shape sets: a job is served for one; submit one job for each")
    if spec.WhichOneof("tuning") == "autotvm":
        raise InvalidInput("the AutoTVM tuner is not served yet: use --tuner autoscheduler")
    for name in ("trials_per_kernel", "early_stopping_threshold", "top_trials_per_kernel"):
        if spec.autoscheduler.HasField(name) and getattr(spec.autoscheduler, name) == 0:
            raise InvalidInput(f"{name} is 0: give at least 1")
    if spec.HasField("max_trials") and spec.max_trials == 0:
        raise InvalidInput("max_trials is 0: give at least 1, or leave it out")
    if spec.HasField("max_seconds") and not spec.max_seconds > 0:
        raise InvalidInput(f"max_seconds is {spec.max_seconds:g}: give more than 0, or leave it out")
