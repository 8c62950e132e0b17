"""Exit codes: 0 done; 1 the job failed or was cancelled, or nobody reads what is printed; 2 the request can't be
served; 3 an import is done, but for what was set aside; 130 Ctrl-C."""

from __future__ import annotations

from tunefarm.errors import (
    Conflict,
    Denied,
    EmbeddedFailed,
    InvalidInput,
    JobFailed,
    JobNotFinished,
    NoDevice,
    NoPackage,
    NotFound,
    NotInstalled,
    OutOfSpace,
    StoreError,
    TunefarmError,
    Unreachable,
)
from tunefarm.job import Job, JobState

DONE = 0
FAILED = 1
BAD_INPUT = 2
SET_ASIDE = 3
INTERRUPTED = 130

_BAD_INPUT_ERRORS = (
    Conflict,
    Denied,
    InvalidInput,
    JobNotFinished,
    NoDevice,
    NoPackage,
    NotFound,
    NotInstalled,
    OutOfSpace,
    StoreError,
    Unreachable,
)
_BAD_INPUT_KINDS = ("INVALID_INPUT", "NO_DEVICE")


def code_of_error(error: TunefarmError) -> int:
    """The exit code for an error that ended a command."""
    if isinstance(error, JobFailed):
        return BAD_INPUT if error.kind in _BAD_INPUT_KINDS else FAILED
    return BAD_INPUT if isinstance(error, _BAD_INPUT_ERRORS) else FAILED


def code_of_job(job: Job) -> int:
    """The exit code for a job that was followed to its end."""
    if job.state is JobState.SUCCEEDED:
        return DONE
    if job.error is not None and job.error.kind in _BAD_INPUT_KINDS:
        return BAD_INPUT
    return FAILED


def error_line(error: Exception) -> str:
    """`error: ...` on one line; only the end of a dead program's log keeps its lines."""
    message = str(error)
    return f"error: {message if isinstance(error, EmbeddedFailed) else ' '.join(message.split())}"
