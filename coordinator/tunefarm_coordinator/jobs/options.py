"""A job's options as the brain needs them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class JobOptions:
    """What a job may spend.

    Attributes:
        trials_per_kernel: times the number of tasks, this is the budget.
        max_trials: caps the budget; None: no cap.
        early_stopping: a task stops when this many measured trials in a row brought no improvement.
        finalists: candidates of a task that are compared at the end.
        rounds_in_flight: rounds that search, builders and devices work on at once.
    """

    trials_per_kernel: int
    early_stopping: int
    max_trials: int | None = None
    finalists: int = 3
    rounds_in_flight: int = 4

    def budget(self, tasks: int) -> int:
        """Trials in total for this many tasks."""
        total = self.trials_per_kernel * tasks
        return total if self.max_trials is None else min(total, self.max_trials)
