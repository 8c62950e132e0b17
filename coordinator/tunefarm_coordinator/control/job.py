"""One job as its runner sees it: what was asked for, resolved."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tunefarm_coordinator.compute.messages import PrepareModel
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.shape_sets import PreparedSets
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.models.input_values import SEEDED, InputValues
from tunefarm_proto.v1 import tuning_pb2

AUTOSCHEDULER: Final = "autoscheduler"
AUTOTVM: Final = "autotvm"
BOTH: Final = "both"
TuningOptions = tuning_pb2.AutoschedulerOptions | tuning_pb2.AutoTVMOptions | tuning_pb2.BothOptions

# So many of a kernel's fastest are compared in turn: a fourth seldom wins, and each costs time.
COMPARED = 3
# The platform's defaults, but for what is compared: twice as many trials by template as by generated schedules.
AUTOSCHEDULER_DEFAULTS = tuning_pb2.AutoschedulerOptions(
    trials_per_kernel=1000, early_stopping_threshold=250, top_trials_per_kernel=COMPARED
)
AUTOTVM_DEFAULTS = tuning_pb2.AutoTVMOptions(
    kernel_trials=2000, early_stopping_threshold=500, exploration_trials=0, random_trials=0
)
BOTH_DEFAULTS = tuning_pb2.BothOptions(
    trials_per_kernel=1000, early_stopping_threshold=250, top_trials_per_kernel=COMPARED
)
# With these at 0 a job would have nothing to do.
_AT_LEAST_ONE = ("trials_per_kernel", "kernel_trials", "early_stopping_threshold", "top_trials_per_kernel")


def tuner_of(spec: tuning_pb2.JobSpec) -> str:
    """The tuner: which options are set picks it, also with nothing in them; neither: Auto-scheduler."""
    return spec.WhichOneof("tuning") or AUTOSCHEDULER


def tuning_options(spec: tuning_pb2.JobSpec) -> TuningOptions:
    """The tuner's options, defaults filled in."""
    defaults: dict[str, TuningOptions] = {
        AUTOSCHEDULER: AUTOSCHEDULER_DEFAULTS,
        AUTOTVM: AUTOTVM_DEFAULTS,
        BOTH: BOTH_DEFAULTS,
    }
    tuner = tuner_of(spec)
    options = copy.deepcopy(defaults[tuner])
    options.MergeFrom(getattr(spec, tuner))
    return options


@dataclass(frozen=True)
class JobSheet:
    """Never changes while the job lives.

    Attributes:
        model: the `.onnx` file.
        shape_sets: fixed shape of every input, for each set; a job has one at least.
        target: TVM's JSON, resolved when the job was submitted.
        created: seconds since the epoch.
        model_id: of the model as it is prepared: another one than the user's where inputs are frozen or forced.
        values: what the user said of the inputs' values.
    """

    job_id: str
    spec: tuning_pb2.JobSpec
    model: Path
    model_name: str
    shape_sets: tuple[dict[str, tuple[int, ...]], ...]
    target: str
    created: float
    model_id: str = ""
    values: InputValues = SEEDED

    @property
    def options(self) -> JobOptions:
        """The brain's options; what the user did not give is the platform's default."""
        given = tuning_options(self.spec)
        cap = self.spec.max_trials if self.spec.HasField("max_trials") else None
        if isinstance(given, tuning_pb2.AutoTVMOptions):
            return JobOptions(
                tuner=AUTOTVM,
                trials_per_kernel=given.kernel_trials,
                early_stopping=given.early_stopping_threshold,
                max_trials=cap,
                finalists=COMPARED,
                exploration_trials=given.exploration_trials,
                random_trials=given.random_trials,
            )
        return JobOptions(
            tuner=BOTH if isinstance(given, tuning_pb2.BothOptions) else AUTOSCHEDULER,
            trials_per_kernel=given.trials_per_kernel,
            early_stopping=given.early_stopping_threshold,
            max_trials=cap,
            finalists=given.top_trials_per_kernel,
        )

    def preparations(self, folders: Folders) -> tuple[PrepareModel, ...]:
        """How the model is prepared for each shape set, and where. The same folder for every job that is prepared
        alike."""
        return tuple(self._preparation(folders, shapes) for shapes in self.shape_sets)

    def _preparation(self, folders: Folders, shapes: dict[str, tuple[int, ...]]) -> PrepareModel:
        model_id, allow_tf32, exact_math = (
            self.model_id or self.spec.model_id,
            self.spec.allow_tf32,
            self.spec.exact_math,
        )
        folder = folders.prepared(model_id, shapes, self.target, allow_tf32=allow_tf32, exact_math=exact_math)
        return PrepareModel(
            self.model, shapes, self.target, folder, allow_tf32, exact_math, templates=self.tuner == AUTOTVM
        )

    def of_set(self, at: int) -> str:
        """What a message about one shape set begins with; nothing where it can be no other's."""
        if len(self.shape_sets) == 1:
            return ""
        sizes = " ".join(f"{name}={','.join(map(str, shape))}" for name, shape in self.shape_sets[at].items())
        return f"shape set {at + 1} ({sizes}): "

    @property
    def tuner(self) -> str:
        return tuner_of(self.spec)

    @property
    def seed(self) -> int:
        return int(self.spec.seed) if self.spec.HasField("seed") else 0


def check_spec(spec: tuning_pb2.JobSpec) -> None:
    """Raises InvalidInput for what can't be served, before anything is spent."""
    if len(spec.targets) > 1:
        raise InvalidInput(f"{len(spec.targets)} targets: a job is served for one target; submit one job for each")
    for field, value in tuning_options(spec).ListFields():
        if field.name in _AT_LEAST_ONE and value == 0:
            raise InvalidInput(f"{field.name} is 0: give at least 1")
    if spec.HasField("max_seconds") and not spec.max_seconds > 0:
        raise InvalidInput(f"max_seconds is {spec.max_seconds:g}: give more than 0, or leave it out")


def check_templates(tuner: str, summary: PreparedSets) -> None:
    """Raises InvalidInput for AutoTVM on a model that could be tuned, of which no kernel has a template."""
    if tuner == AUTOTVM and summary.tasks and not summary.templates:
        raise InvalidInput(
            f"none of the model's {len(summary.tasks)} kernels has an AutoTVM template for this target: "
            "use --tuner autoscheduler"
        )
