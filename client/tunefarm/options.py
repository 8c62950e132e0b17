"""What a user may say about tuning, and the one rule that picks the tuner from it.

Only what was given travels: an option that was left out differs, on the wire, from its default.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from tunefarm.errors import InvalidInput

_UINT32_MAX = 2**32 - 1


class _TuningOptions:
    """Remembers which options the caller named, and checks all of them.

    `__new__` sees the call as it was written, before the dataclass fills its defaults in.
    """

    given: frozenset[str]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        positional = [field.name for field in dataclasses.fields(cls)[: len(args)]]  # type: ignore[arg-type]
        object.__setattr__(made, "given", frozenset(positional) | kwargs.keys())
        return made

    def _check(self, **least: int) -> None:
        for name, low in least.items():
            check_count(name, getattr(self, name), low)


def check_count(name: str, value: object, low: int) -> None:
    """Raises InvalidInput unless value is a whole number in [low, 2**32)."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{name} is a whole number, not {value!r}")
    if value < low:
        raise InvalidInput(f"{name} is {value}, but must be {low} or more")
    if value > _UINT32_MAX:
        raise InvalidInput(f"{name} is {value}, but must be {_UINT32_MAX} or less")


@dataclasses.dataclass(frozen=True)
class AutoschedulerOptions(_TuningOptions):
    """Machine-generated schedules.

    The job's budget is trials_per_kernel x kernels (tuning tasks), given out dynamically: complex kernels
    receive more, simple ones fewer. A kernel stops after `early_stopping_threshold` measured trials in a
    row without improvement. The `top_trials_per_kernel` fastest are compared again, in turn, before one is
    chosen: more than 3 seldom change who wins, and each costs time.
    Raises InvalidInput for a number that can't be served.
    """

    trials_per_kernel: int = 1000
    early_stopping_threshold: int = 250
    top_trials_per_kernel: int = 3

    def __post_init__(self) -> None:
        self._check(trials_per_kernel=1, early_stopping_threshold=1, top_trials_per_kernel=1)


@dataclasses.dataclass(frozen=True)
class BothOptions(AutoschedulerOptions):
    """The schedules of both tuners, from one pool: a kernel's candidates are generated ones and those of its template.
    What the numbers mean, and their defaults, are Auto-scheduler's."""


@dataclasses.dataclass(frozen=True)
class AutoTVMOptions(_TuningOptions):
    """Hand-written templates with knobs.

    Every templated kernel gets `kernel_trials`: cached records first, and
    max(kernel_trials - cached, exploration_trials) are actively tuned, `random_trials` of them at random.
    Raises InvalidInput for a number that can't be served.
    """

    kernel_trials: int = 2000
    early_stopping_threshold: int = 500
    exploration_trials: int = 0
    random_trials: int = 0

    def __post_init__(self) -> None:
        self._check(kernel_trials=1, early_stopping_threshold=1, exploration_trials=0, random_trials=0)


TuningOptions = AutoschedulerOptions | AutoTVMOptions | BothOptions
TUNERS: dict[str, type[TuningOptions]] = {
    "autoscheduler": AutoschedulerOptions,
    "autotvm": AutoTVMOptions,
    "both": BothOptions,
}


def tuner_of(options: TuningOptions) -> str:
    """The name of the tuner that options are of."""
    return next(name for name, kind in TUNERS.items() if type(options) is kind)


_AUTOSCHEDULER_ONLY = frozenset({"trials_per_kernel", "top_trials_per_kernel"})
_AUTOTVM_ONLY = frozenset({"kernel_trials", "exploration_trials", "random_trials"})
LOOSE = _AUTOSCHEDULER_ONLY | _AUTOTVM_ONLY | {"early_stopping_threshold"}


def _join(names: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names))


def pick_tuner(options: TuningOptions | None, **loose: int | None) -> TuningOptions | None:
    """The tuner and its options, from an options object and loose parameters (None: not given).

    Nothing given: None, which is the coordinator's default, Auto-scheduler. `kernel_trials` or
    `early_stopping_threshold` by themselves: AutoTVM. `trials_per_kernel`: Auto-scheduler (an
    `early_stopping_threshold` beside it is Auto-scheduler's).

    Raises InvalidInput, saying which to drop, for options together with loose parameters and for loose
    parameters of both tuners; TypeError for a name that no tuner has.
    """
    if unknown := loose.keys() - LOOSE:
        raise TypeError(f"unknown tuning parameter: {_join(set(unknown))}")
    given = {name: value for name, value in loose.items() if value is not None}
    if options is not None:
        if given:
            kind = type(options).__name__
            raise InvalidInput(
                f"{_join(set(given))} given beside tuning_options: drop it and set it inside {kind}(...), "
                f"or drop tuning_options"
            )
        return options
    return _pick_from_loose(given)


def _pick_from_loose(given: dict[str, int]) -> TuningOptions | None:
    of_autoscheduler = given.keys() & _AUTOSCHEDULER_ONLY
    of_autotvm = given.keys() & _AUTOTVM_ONLY
    if of_autoscheduler and of_autotvm:
        raise InvalidInput(
            f"{_join(of_autoscheduler)} belongs to Auto-scheduler and {_join(of_autotvm)} to AutoTVM: "
            f"drop {_join(of_autotvm)} for Auto-scheduler, or {_join(of_autoscheduler)} for AutoTVM"
        )
    if of_autoscheduler:
        return AutoschedulerOptions(**given)
    return AutoTVMOptions(**given) if given else None


def options_of_tuner(tuner: str, **given: int | None) -> TuningOptions:
    """The options of a tuner that was named (one of `TUNERS`), from parameters (None: not given).

    Raises InvalidInput for another name, and for a parameter that the named tuner does not have.
    """
    if tuner not in TUNERS:
        raise InvalidInput(f"unknown tuner {tuner!r}: choose one of {', '.join(TUNERS)}")
    named = {name: value for name, value in given.items() if value is not None}
    foreign = named.keys() - {field.name for field in dataclasses.fields(TUNERS[tuner])}
    if foreign:
        raise InvalidInput(f"{_join(set(foreign))} is not a parameter of {tuner}: drop it, or the tuner's name")
    return TUNERS[tuner](**named)
