"""The client's errors: one small tree, and the one table from gRPC status codes to its classes.

Every message says what happened, to what, and what to do next. This module imports no gRPC: the table's
keys are the names of status codes.
"""

from __future__ import annotations

from collections.abc import Mapping


class TunefarmError(Exception):
    """Base of every error that a user is meant to read."""


class InvalidInput(TunefarmError, ValueError):
    """What was given can't be served as it is; asking again changes nothing."""


class NotFound(TunefarmError):
    """The named model or job does not exist (or not for this caller)."""


class Conflict(TunefarmError):
    """The idempotency key was used for another request, or the thing's state rules this out."""


class NoDevice(TunefarmError):
    """No device of the farm serves the target."""


class NoPackage(TunefarmError):
    """The job has no package: it is not finished, or it did not succeed."""


class Denied(TunefarmError):
    """The coordinator did not take the token, or the token does not allow this."""


class Unavailable(TunefarmError):
    """The coordinator, or a part of the farm, does not answer now; the same call may go through later."""


class Unreachable(Unavailable):
    """No coordinator could be reached at the address in the first place."""


class OutOfSpace(TunefarmError):
    """The coordinator's disk is full, or what was sent is larger than it takes."""


class Internal(TunefarmError):
    """A fault of the coordinator; its log says more."""


class BrokenTransfer(TunefarmError):
    """What was received is not what was announced, or would have been written outside its folder."""


class StoreError(TunefarmError):
    """The schedule store can't be opened: locked, or newer than this program."""


class NotInstalled(TunefarmError):
    """An extra of the distribution is missing; the message says how to install it."""


class EmbeddedFailed(TunefarmError):
    """The coordinator or the agent that this process started ended, or did not come up."""


class ClientClosed(TunefarmError):
    """The client was closed before this call."""


class JobNotFinished(TunefarmError):
    """The job has no result yet."""


class JobFailed(TunefarmError):
    """The job ended FAILED. `kind` names the reason: "INVALID_INPUT", "NO_DEVICE", "NO_VALID_TRIAL", ..."""

    def __init__(self, message: str, kind: str = "INTERNAL") -> None:
        super().__init__(message)
        self.kind = kind


class JobCancelled(TunefarmError):
    """The job ended CANCELLED."""


STATUS_ERRORS: Mapping[str, type[TunefarmError]] = {
    "INVALID_ARGUMENT": InvalidInput,
    "OUT_OF_RANGE": InvalidInput,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": Conflict,
    "ABORTED": Conflict,
    "FAILED_PRECONDITION": NoDevice,
    "UNAUTHENTICATED": Denied,
    "PERMISSION_DENIED": Denied,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": Unavailable,
    "CANCELLED": Unavailable,
    "RESOURCE_EXHAUSTED": OutOfSpace,
    "UNIMPLEMENTED": Internal,
    "DATA_LOSS": Internal,
    "INTERNAL": Internal,
    "UNKNOWN": Internal,
}

# FetchPackage uses FAILED_PRECONDITION for another state than the submitting calls do.
PACKAGE_ERRORS: Mapping[str, type[TunefarmError]] = {**STATUS_ERRORS, "FAILED_PRECONDITION": NoPackage}

# ResumeJob and WatchJob use it for a job in a state that rules them out, the calls of AccessService for a coordinator
# that speaks plain text.
JOB_STATE_ERRORS: Mapping[str, type[TunefarmError]] = {**STATUS_ERRORS, "FAILED_PRECONDITION": Conflict}

# What a coordinator that could not start wrote to its ready pipe: "kind" -> class.
START_ERRORS: Mapping[str, type[TunefarmError]] = {
    "StoreError": StoreError,
    "InvalidInput": InvalidInput,
    "NotInstalled": NotInstalled,
    "Unavailable": Unavailable,
}
