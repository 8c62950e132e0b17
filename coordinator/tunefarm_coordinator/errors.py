"""The coordinator's errors: one small tree, each class with one meaning on the wire.

`service/errors.py` holds the one table from these classes to gRPC status codes. A message says what
happened, to what, and what to do next; it reaches the user as it is.
"""


class TunefarmError(Exception):
    """Base of every error that a user is meant to read."""


class InvalidInput(TunefarmError):
    """The caller's input can't be served as it is; asking again changes nothing."""


class NoDesignSpace(InvalidInput):
    """No schedules can be generated for a kernel; its default one is all that there is."""


class NotFound(TunefarmError):
    """The named thing does not exist (or not for this caller)."""


class Conflict(TunefarmError):
    """The key was used before for something else, or the thing is in a state that rules this out."""


class NotReady(Conflict):
    """The thing is in a state that rules this out: no such protocol, no package yet, a job that is running."""


class NoDevice(TunefarmError):
    """No registered device serves the target."""


class Unavailable(TunefarmError):
    """A part of the farm does not answer now; the same call may go through later."""


class Unauthenticated(TunefarmError):
    """Nobody knows who is calling: no token or certificate, or one that is unknown, expired or revoked."""


class PermissionDenied(TunefarmError):
    """The caller is known, and may not do this."""


class StoreError(TunefarmError):
    """The schedule store can't be opened or written: locked, newer than this program, disk full."""
