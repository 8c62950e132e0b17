"""Roles, and the one that each RPC needs. Plain data: the interceptor reads it, nobody else decides."""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a user may do; each role may do what those before it may. The numbers are the contract's."""

    VIEWER = 1
    SUBMITTER = 2
    ADMIN = 3


@dataclass(frozen=True)
class User:
    """Somebody with a token. `name`: the token's, for people."""

    token_id: str
    name: str
    role: Role
    project: str


@dataclass(frozen=True)
class Agent:
    """An enrolled agent, known by its certificate."""

    agent_id: str


@dataclass(frozen=True)
class Everybody:
    """Whoever reaches a plain port: on loopback, or on a network that the operator trusts (`--insecure`)."""


Caller = User | Agent | Everybody

# Of an RPC that needs neither token nor certificate.
OPEN = "open"
AGENT = "agent"

_TUNING: dict[str, Role | str] = {
    "UploadModel": Role.SUBMITTER,
    "UploadValues": Role.SUBMITTER,
    "GetModel": Role.VIEWER,
    # Planning imports the model and takes the coordinator's cores for it.
    "PlanJob": Role.SUBMITTER,
    "SubmitJob": Role.SUBMITTER,
    "GetJob": Role.VIEWER,
    "ListJobs": Role.VIEWER,
    "WatchJob": Role.VIEWER,
    "CancelJob": Role.SUBMITTER,
    "ResumeJob": Role.SUBMITTER,
    "FetchPackage": Role.SUBMITTER,
}
_FARM: dict[str, Role | str] = {
    "Attach": AGENT,
    "FetchArtifacts": AGENT,
    "UploadArtifact": AGENT,
    "ListDevices": Role.VIEWER,
    "DrainDevice": Role.ADMIN,
    "ResumeDevice": Role.ADMIN,
}
_SCHEDULE: dict[str, Role | str] = {
    "QueryBest": Role.VIEWER,
    "ExportSchedules": Role.VIEWER,
    "GetScheduleStats": Role.VIEWER,
    "ImportSchedules": Role.ADMIN,
    "RetractSchedules": Role.ADMIN,
    "PruneSchedules": Role.ADMIN,
    # Both import the model and take the coordinator's cores for it, as planning does.
    "FindSchedules": Role.SUBMITTER,
    "CompileModel": Role.SUBMITTER,
    "ImportMetaSchedule": Role.ADMIN,
    # Replays every schedule that it writes, on the coordinator's cores.
    "ExportMetaSchedule": Role.SUBMITTER,
}
_ACCESS: dict[str, Role | str] = {
    "GetAuthority": OPEN,
    "Enrol": OPEN,
    "CreateInvite": Role.ADMIN,
    "ListAgents": Role.VIEWER,
    "RevokeAgent": Role.ADMIN,
    "CreateToken": Role.ADMIN,
    "ListTokens": Role.ADMIN,
    "RevokeToken": Role.ADMIN,
}

# Health says nothing but that a coordinator is here; load balancers and clients ask it before anything else.
_HEALTH: dict[str, Role | str] = {"Check": OPEN, "Watch": OPEN, "List": OPEN}
_REFLECTION: dict[str, Role | str] = {"ServerReflectionInfo": Role.VIEWER}

NEEDED: dict[str, Role | str] = {
    f"/{service}/{method}": role
    for service, methods in (
        ("tunefarm.v1.TuningService", _TUNING),
        ("tunefarm.v1.FarmService", _FARM),
        ("tunefarm.v1.ScheduleService", _SCHEDULE),
        ("tunefarm.v1.AccessService", _ACCESS),
        ("grpc.health.v1.Health", _HEALTH),
        ("grpc.reflection.v1alpha.ServerReflection", _REFLECTION),
    )
    for method, role in methods.items()
}


def allows(caller: Caller, needed: Role | str) -> bool:
    """Whether the caller may call an RPC that needs this."""
    match caller:
        case Everybody():
            return True
        case Agent():
            return needed in (AGENT, OPEN)
        case User():
            return needed == OPEN or (isinstance(needed, Role) and caller.role >= needed)
