"""A job's options as the brain needs them."""

from dataclasses import dataclass
from typing import Literal

Tuner = Literal["autoscheduler", "autotvm", "both"]


@dataclass(frozen=True)
class JobOptions:
    """What a job may spend, and on what.

    Attributes:
        trials_per_kernel: Auto-scheduler, both: on average, times the number of tasks this is the budget, given out
            where it pays. AutoTVM (its `kernel_trials`): of each task that has a template, trials on record included.
        early_stopping: a task stops when this many measured trials in a row brought no improvement.
        max_trials: caps the budget; None: no cap.
        finalists: candidates of a task that are compared at the end.
        rounds_in_flight: rounds that search, builders and devices work on at once.
        exploration_trials: AutoTVM: new trials of each templated task, at least, whatever is on record.
        random_trials: AutoTVM: so many of a task's first trials are drawn at random.
    """

    trials_per_kernel: int
    early_stopping: int
    max_trials: int | None = None
    finalists: int = 3
    rounds_in_flight: int = 4
    tuner: Tuner = "autoscheduler"
    exploration_trials: int = 0
    random_trials: int = 0
