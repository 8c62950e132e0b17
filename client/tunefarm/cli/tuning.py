"""What the commands about a model are asked for: the command line's words, checked before anything starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tunefarm.errors import InvalidInput
from tunefarm.input_wishes import InputArguments, parse_frozen, parse_ranges, wishes_of
from tunefarm.options import TuningOptions, options_of_tuner, pick_tuner
from tunefarm.request import JobRequest, TuningParameters, parse_inputs, target_text
from tunefarm.shape_sets import Shapes, parse_padding, parse_shape_sets

Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The ONNX model.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=1,3,224,224", help="Fixes an input's shape; may be repeated."),
]
ShapeSets = Annotated[
    list[str] | None,
    typer.Option(
        "--shape-set",
        metavar="'NAME=1,16 ...'",
        help="One of several sets of input shapes: repeat it. The package chooses as it runs; --input is for all.",
    ),
]
Padded = Annotated[
    list[str] | None,
    typer.Option(
        "--pad",
        metavar="NAME[=VALUE]",
        help="The package pads this input (with 0) to the next shape set: for models that mask it; may be repeated.",
    ),
]
Samples = Annotated[
    Path | None,
    typer.Option(
        "--samples",
        metavar="FILE.npz",
        help="Inputs to check and time with: arrays named as the inputs; NAME/0, NAME/1, ... for several sets.",
    ),
]
Ranges = Annotated[
    list[str] | None,
    typer.Option("--range", metavar="NAME=LOW:HIGH", help="Seeded values of an input, HIGH left out; may be repeated."),
]
Frozen = Annotated[
    list[str] | None,
    typer.Option(
        "--freeze",
        metavar="NAME=VALUE|@FILE.npy",
        help="Makes a constant of an input (1,16 is a list); may be repeated.",
    ),
]
Forced = Annotated[
    list[str] | None,
    typer.Option(
        "--force-input", metavar="NAME=1,3,224,224", help="An input's shape, whatever the file fixes; may be repeated."
    ),
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="host|NAME|JSON",
        help="What to tune for: this coordinator's host, a name that it knows, or a TVM target.",
    ),
]
Tuner = Annotated[
    str | None,
    typer.Option("--tuner", metavar="autoscheduler|autotvm|both", help="Default: what the other options imply."),
]
TrialsPerKernel = Annotated[
    int | None,
    typer.Option("--trials-per-kernel", metavar="N", help="Auto-scheduler, both: budget = N x kernels, dynamic."),
]
KernelTrials = Annotated[
    int | None,
    typer.Option("--kernel-trials", metavar="N", help="AutoTVM: N trials for each templated kernel."),
]
TopTrials = Annotated[
    int | None,
    typer.Option(
        "--top-trials-per-kernel",
        metavar="N",
        help="Auto-scheduler, both: the N fastest of a kernel are compared.",
    ),
]
ExplorationTrials = Annotated[
    int | None,
    typer.Option("--exploration-trials", metavar="N", help="AutoTVM: at least N new trials, whatever is on record."),
]
RandomTrials = Annotated[
    int | None,
    typer.Option("--random-trials", metavar="N", help="AutoTVM: the first N of a kernel's trials are random."),
]
EarlyStopping = Annotated[
    int | None,
    typer.Option("--early-stopping-threshold", metavar="N", help="A kernel stops after N trials without improvement."),
]
MaxTrials = Annotated[
    int | None,
    typer.Option(
        "--max-trials", metavar="N", help="Caps the job's trials in total; 0: only what is known is measured again."
    ),
]
MaxSeconds = Annotated[
    float | None,
    typer.Option("--max-seconds", metavar="S", help="No new trial starts after S seconds; the job then ends as usual."),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Makes the search repeatable.")]
AllowTf32 = Annotated[
    bool,
    typer.Option(
        "--allow-tf32",
        help="NVIDIA GPUs: float32 products may use TF32 tensor cores, exact to some three digits (default: off).",
    ),
]
ExactMath = Annotated[
    bool,
    typer.Option(
        "--exact-math",
        help="CPUs: exp, tanh and their like are libm's, not vectors that are off by some units in the last place; "
        "convolutions are direct sums.",
    ),
]
WithoutReference = Annotated[
    bool,
    typer.Option(
        "--without-reference",
        help="Tune a model that ONNX Runtime can't run as well: its outputs may then be compared with nothing.",
    ),
]
Project = Annotated[str, typer.Option("--project", metavar="NAME", help="The project that it belongs to.")]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The job's name (default: the file's).")]


@dataclasses.dataclass(frozen=True)
class TuningRequest:
    """A model file and what to do with it. Construction raises InvalidInput for what can't be served."""

    model: Path
    inputs: tuple[str, ...]
    shape_sets: tuple[str, ...]
    padded: tuple[str, ...]
    samples: Path | None
    ranges: tuple[str, ...]
    frozen: tuple[str, ...]
    forced: tuple[str, ...]
    target: str
    tuner: str | None = None
    trials_per_kernel: int | None = None
    kernel_trials: int | None = None
    early_stopping_threshold: int | None = None
    top_trials_per_kernel: int | None = None
    exploration_trials: int | None = None
    random_trials: int | None = None
    max_trials: int | None = None
    max_seconds: float | None = None
    seed: int | None = None
    allow_tf32: bool = False
    exact_math: bool = False
    without_reference: bool = False
    project: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not self.model.exists():
            raise InvalidInput(f"no such file: {self.model}")
        if not self.model.is_file():
            raise InvalidInput(f"{self.model} is not a file")
        wishes_of(**self.said_of_inputs)
        JobRequest(  # checks the rest as the SDK would, before anything starts
            model_id="",
            target=target_text(self.target),
            shape_sets=self.shapes,
            tuning=self.options,
            project=self.project,
            owner="",
            name=self.name,
            max_trials=self.max_trials,
            max_seconds=self.max_seconds,
            seed=self.seed,
            allow_tf32=self.allow_tf32,
            exact_math=self.exact_math,
            without_reference=self.without_reference,
        )

    @property
    def shapes(self) -> tuple[Shapes, ...]:
        """Input shapes by name, of each set."""
        return parse_shape_sets(self.inputs, self.shape_sets)

    @property
    def said_of_inputs(self) -> InputArguments:
        """What is said of the inputs beside their shapes, as `Client.upload_model` takes it."""
        return InputArguments(
            input_samples=self.samples,
            input_ranges=parse_ranges(self.ranges),
            freeze=parse_frozen(self.frozen),
            force_inputs=parse_inputs(self.forced, "--force-input"),
            input_padding=parse_padding(self.padded),
        )

    @property
    def options(self) -> TuningOptions | None:
        """The tuner and its options, by the same rules as the SDK's."""
        given = {
            "trials_per_kernel": self.trials_per_kernel,
            "kernel_trials": self.kernel_trials,
            "early_stopping_threshold": self.early_stopping_threshold,
            "top_trials_per_kernel": self.top_trials_per_kernel,
            "exploration_trials": self.exploration_trials,
            "random_trials": self.random_trials,
        }
        return pick_tuner(None, **given) if self.tuner is None else options_of_tuner(self.tuner, **given)

    @property
    def caps(self) -> TuningParameters:
        """What is said about the job as a whole."""
        parameters = TuningParameters(
            max_trials=self.max_trials,
            max_seconds=self.max_seconds,
            seed=self.seed,
            allow_tf32=self.allow_tf32,
            exact_math=self.exact_math,
            without_reference=self.without_reference,
        )
        return parameters | {"name": self.name} if self.name else parameters
