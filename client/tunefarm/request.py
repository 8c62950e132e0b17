"""What a user asks of a model: checked and complete before anything is sent."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from tunefarm.errors import InvalidInput
from tunefarm.options import TuningOptions, check_count, pick_tuner

InputShapes = Mapping[str, Sequence[int]]
_INT32 = range(-(2**31), 2**31)


class TuningParameters(TypedDict, total=False):
    """The keyword arguments of `optimize`, `octomize` and `plan` beside platform and tuning_options.

    The first six are loose tuning parameters (`tunefarm.options.pick_tuner`). `max_trials` and
    `max_seconds` cap the whole job; `seed` makes the search repeatable. `allow_tf32`: on an NVIDIA GPU that has
    TF32, float32 products may be made with it: faster, and exact to some three digits. `exact_math`: on CPUs exp, tanh
    and their like stay libm's, instead of vectors that are exact to a few units in the last place, and convolutions are
    direct sums. `without_reference`: tune a model that ONNX Runtime can't run as well; its outputs may then be compared
    with nothing.
    """

    trials_per_kernel: int | None
    top_trials_per_kernel: int | None
    kernel_trials: int | None
    early_stopping_threshold: int | None
    exploration_trials: int | None
    random_trials: int | None
    max_trials: int | None
    max_seconds: float | None
    seed: int | None
    allow_tf32: bool
    exact_math: bool
    without_reference: bool
    name: str
    priority: int
    labels: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class SentInputs:
    """What was said of a model's inputs (`input_wishes.InputWishes`), its files uploaded. `samples`: a values_id, or
    empty; `frozen_json`, `frozen_files` (values_ids): by input; `forced`: names."""

    samples: str = ""
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    frozen_json: Mapping[str, str] = dataclasses.field(default_factory=dict)
    frozen_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    forced: tuple[str, ...] = ()
    padding: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """One job on one uploaded model. `target`: "host", a name that the coordinator knows, or TVM's JSON.

    `max_trials` 0: nothing new is tried; what the store knows is measured again and verified.
    """

    model_id: str
    target: str
    shape_sets: Sequence[InputShapes]
    tuning: TuningOptions | None
    project: str
    owner: str
    name: str
    max_trials: int | None = None
    max_seconds: float | None = None
    seed: int | None = None
    allow_tf32: bool = False
    exact_math: bool = False
    without_reference: bool = False
    inputs: SentInputs = dataclasses.field(default_factory=SentInputs)
    priority: int = 0
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_caps(self.max_trials, self.max_seconds, fewest_trials=0)
        for name in ("allow_tf32", "exact_math", "without_reference"):
            if not isinstance(value := getattr(self, name), bool):
                raise InvalidInput(f"{name} is True or False, not {value!r}")
        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise InvalidInput(f"seed is {self.seed}, but must be between 0 and 2**64 - 1")
        if self.priority not in _INT32:
            raise InvalidInput(f"priority is {self.priority}, but must fit in 32 bits")


@dataclasses.dataclass(frozen=True)
class ResumeTotals:
    """What a job that goes on may spend, what it spent before counted in; None: as before.

    `trials_per_kernel` is for jobs of Auto-scheduler and of both tuners, `kernel_trials` for AutoTVM's. `max_seconds`
    counts from now. Raises InvalidInput for a number that can't be served.
    """

    trials_per_kernel: int | None = None
    kernel_trials: int | None = None
    max_trials: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        given: dict[str, int | None] = {
            "trials_per_kernel": self.trials_per_kernel,
            "kernel_trials": self.kernel_trials,
        }
        for name, value in given.items():
            if value is not None:
                check_count(name, value, 1)
        if self.trials_per_kernel is not None and self.kernel_trials is not None:
            raise InvalidInput(
                "trials_per_kernel belongs to Auto-scheduler and kernel_trials to AutoTVM: a job has one tuner, "
                "drop the other's"
            )
        _check_caps(self.max_trials, self.max_seconds, fewest_trials=1)


def _check_caps(max_trials: int | None, max_seconds: float | None, *, fewest_trials: int) -> None:
    if max_trials is not None:
        check_count("max_trials", max_trials, fewest_trials)
    if max_seconds is not None and not (math.isfinite(max_seconds) and max_seconds > 0):
        raise InvalidInput(f"max_seconds is {max_seconds}, but must be more than 0")


_LOOSE = (
    "trials_per_kernel",
    "top_trials_per_kernel",
    "kernel_trials",
    "early_stopping_threshold",
    "exploration_trials",
    "random_trials",
)


def tuning_of(tuning_options: TuningOptions | None, parameters: TuningParameters) -> TuningOptions | None:
    """The tuner that the options and the loose parameters among `parameters` pick. Raises InvalidInput."""
    loose: dict[str, Any] = {name: parameters.get(name) for name in _LOOSE}
    return pick_tuner(tuning_options, **loose)


def caps_of(parameters: TuningParameters) -> dict[str, object]:
    """The parameters that are fields of JobRequest. Raises TypeError for a name that nobody has."""
    known = TuningParameters.__annotations__.keys()
    if unknown := sorted(parameters.keys() - known):
        raise TypeError(f"unknown parameter: {', '.join(unknown)}")
    return {key: value for key, value in parameters.items() if key not in _LOOSE}


def target_text(platform: str | Mapping[str, object]) -> str:
    """The target as the wire takes it. Raises InvalidInput for an empty one and for JSON that is not an object."""
    if not isinstance(platform, str):
        return json.dumps(dict(platform))
    text = platform.strip()
    if not text:
        raise InvalidInput('the target is empty: write "host", a target\'s name, or its JSON')
    if text.startswith(("{", "[")):
        try:
            parsed = json.loads(text)
        except ValueError as error:
            raise InvalidInput(f"the target is not valid JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise InvalidInput("the target's JSON must be an object with a kind")
    return text


def check_shapes(shapes: InputShapes) -> dict[str, tuple[int, ...]]:
    """The shapes as tuples. Raises InvalidInput for a dimension that is no whole number, or negative."""
    for name, dims in shapes.items():
        if not isinstance(dims, list | tuple):
            raise InvalidInput(f"the shape of input {name!r} is a list of numbers, not {dims!r}")
        for dim in dims:
            if isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim < 2**63:
                raise InvalidInput(
                    f"the shape of input {name!r} has {dim!r}: every dimension is a whole number, 0 or more"
                )
    return {name: tuple(dims) for name, dims in shapes.items()}


def parse_inputs(texts: Sequence[str], option: str = "--input") -> dict[str, tuple[int, ...]]:
    """`NAME=1,3,224,224` strings of an option -> shapes by input name. Raises InvalidInput, quoting the text."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, dims = text.rpartition("=")
        parts = [part.strip() for part in dims.split(",")]
        if not equals or not name.strip() or not all(part.isascii() and part.isdigit() for part in parts):
            raise InvalidInput(f"{option} {text!r}: write NAME=1,3,224,224")
        if name in shapes:
            raise InvalidInput(f"{option} {text!r}: {name!r} was given before")
        shapes[name] = tuple(int(part) for part in parts)
    return check_shapes(shapes)
