"""The states of a job and the only ways between them."""

from enum import Enum


class JobState(Enum):
    """Names as in the contract, without the prefix."""

    PREPARING = "PREPARING"
    TUNING = "TUNING"
    VERIFYING = "VERIFYING"
    PACKAGING = "PACKAGING"
    BENCHMARKING = "BENCHMARKING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        return not TRANSITIONS[self]


_STOPPED = frozenset({JobState.FAILED, JobState.CANCELLED})

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.PREPARING: frozenset({JobState.TUNING}) | _STOPPED,
    JobState.TUNING: frozenset({JobState.VERIFYING}) | _STOPPED,
    JobState.VERIFYING: frozenset({JobState.PACKAGING}) | _STOPPED,
    JobState.PACKAGING: frozenset({JobState.BENCHMARKING}) | _STOPPED,
    JobState.BENCHMARKING: frozenset({JobState.SUCCEEDED}) | _STOPPED,
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


# The only ways out of an end, and back from where an interrupted job stood: a user's wish to go on (`Resumed`).
# PREPARING where no tasks are known (yet: some models have none), TUNING where they are.
_GOES_ON = frozenset({JobState.PREPARING, JobState.TUNING})

RESUMES: dict[JobState, frozenset[JobState]] = {
    JobState.PREPARING: frozenset({JobState.PREPARING}),
    JobState.TUNING: frozenset({JobState.TUNING}),
    JobState.VERIFYING: frozenset({JobState.TUNING}),
    JobState.PACKAGING: _GOES_ON,
    JobState.BENCHMARKING: _GOES_ON,
    JobState.SUCCEEDED: frozenset({JobState.TUNING}),
    JobState.FAILED: _GOES_ON,
    JobState.CANCELLED: _GOES_ON,
}


def check_resumption(old: JobState, new: JobState) -> None:
    """Raises ValueError for a way on that the table of resumptions does not have."""
    if new not in RESUMES[old]:
        raise ValueError(f"a job that is {old.value} can't be resumed as {new.value}")


def check_transition(old: JobState, new: JobState) -> None:
    """Raises ValueError for a change of state that the table does not have."""
    if new not in TRANSITIONS[old]:
        raise ValueError(f"a job can't go from {old.value} to {new.value}")
