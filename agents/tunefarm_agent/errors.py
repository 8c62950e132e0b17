"""The agent's errors. A message says what happened, to what, and what to do next."""


class AgentError(Exception):
    """Base of every error that a user is meant to read."""


class InvalidInput(AgentError):
    """The agent can't run as it was asked to: exit code 2."""


class Refused(AgentError):
    """The coordinator will not have this agent (version, credentials): exit code 2."""


class Unreachable(AgentError):
    """No coordinator answers at the address: exit code 1."""


class Superseded(AgentError):
    """Another process attached under the same agent id: exit code 1."""


class ArtifactUnavailable(AgentError):
    """An artifact could not be fetched or kept: the lease that needs it is given up."""


class ProcessDied(AgentError):
    """A measuring process ended in the middle of a command."""


class CommandTimedOut(AgentError):
    """A command took longer than it may; what ran for it is dead."""


class LeaseGivenUp(AgentError):
    """The lease can't be worked on, or not to its end, through no fault of its candidates."""


class DeviceFailed(LeaseGivenUp):
    """The device itself can't do its work: it needs a rest, or somebody's hands."""
