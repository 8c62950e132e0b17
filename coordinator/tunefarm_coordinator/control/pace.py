"""How long a job may take, from the pace of jobs like it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

# More would remember a farm that has changed since.
MOST_JOBS = 5


@dataclass(frozen=True)
class FinishedJob:
    """What one finished job tells.

    Attributes:
        charged: its trials.
        seconds: from its start to its end.
        tuning_seconds: from the prepared model to its last trial; the rest of `seconds` comes with every job.
    """

    charged: int
    seconds: float
    tuning_seconds: float


@dataclass(frozen=True)
class Pace:
    """`fixed_seconds`: what a job takes beside its trials: preparation, finals, package, benchmark."""

    trials_per_second: float
    fixed_seconds: float
    jobs: int

    def estimate(self, trials: int, max_seconds: float | None) -> float:
        """Seconds that a job of so many trials takes; no trial starts after `max_seconds`."""
        tuning = trials / self.trials_per_second
        return self.fixed_seconds + (tuning if max_seconds is None else min(tuning, max_seconds))


def pace_of(jobs: Sequence[FinishedJob]) -> Pace | None:
    """The pace of these jobs, the newest first; None where they tell nothing."""
    telling = [job for job in jobs if job.charged > 0 and job.tuning_seconds > 0][:MOST_JOBS]
    if not telling:
        return None
    charged = sum(job.charged for job in telling)
    tuning = sum(job.tuning_seconds for job in telling)
    fixed = sum(max(0.0, job.seconds - job.tuning_seconds) for job in telling)
    return Pace(charged / tuning, fixed / len(telling), len(telling))
