"""Who may do what in a farm: invites for boards, agents, tokens of users. For the farm's admins."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from tunefarm.errors import InvalidInput
from tunefarm_proto.v1 import access_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from tunefarm.calls import Calls

Role = Literal["viewer", "submitter", "admin"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclasses.dataclass(frozen=True)
class Invite:
    """For one board to join with. `token` can't be shown again."""

    invite_id: str
    token: str
    expires: datetime.datetime


@dataclasses.dataclass(frozen=True)
class EnrolledAgent:
    """An agent that enrolled. `revoked`: since when it is refused, or None."""

    agent_id: str
    enrolled: datetime.datetime
    revoked: datetime.datetime | None
    reason: str
    labels: Mapping[str, str]
    project: str


@dataclasses.dataclass(frozen=True)
class UserToken:
    """A user's token. `token` itself is only there in the answer that made it; `expires` None: never."""

    token_id: str
    name: str
    role: str
    created: datetime.datetime
    expires: datetime.datetime | None
    revoked: datetime.datetime | None
    project: str
    token: str | None = None


class FarmAccess:
    """`client.access`. Methods raise Denied without the role that they need, Conflict on a plain-text coordinator."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def invite(self, labels: Mapping[str, str] | None = None, seconds: float = 3600.0, project: str = "") -> Invite:
        """An invite for one board, good for `seconds`; `labels` come to its devices. Role: admin."""
        request = access_pb2.CreateInviteRequest(labels=labels or {}, project=project)
        request.expires.FromNanoseconds(int(seconds * 1e9))
        made = self._calls.invite(request)
        return Invite(made.invite_id, made.token, _moment(made.expires))

    def agents(self) -> list[EnrolledAgent]:
        """Every agent that ever enrolled. Role: viewer."""
        return [_agent(agent) for agent in self._calls.agents()]

    def revoke_agent(self, agent_id: str, reason: str = "") -> EnrolledAgent:
        """Ends the agent's stream and refuses it from now on. Role: admin. Raises NotFound."""
        return _agent(self._calls.revoke_agent(access_pb2.RevokeAgentRequest(agent_id=agent_id, reason=reason)))

    def create_token(self, role: Role, name: str = "", seconds: float | None = None, project: str = "") -> UserToken:
        """A token for a user or a program; `seconds` None: it never expires. Role: admin."""
        number = getattr(access_pb2, f"ROLE_{role.upper()}", None)
        if number is None:
            raise InvalidInput(f"{role!r} is no role: viewer, submitter or admin")
        request = access_pb2.CreateTokenRequest(role=number, name=name, project=project)
        if seconds is not None:
            request.expires.FromNanoseconds(int(seconds * 1e9))
        return _token(self._calls.create_token(request))

    def tokens(self) -> list[UserToken]:
        """Every token, revoked ones too, without its secret. Role: admin."""
        return [_token(token) for token in self._calls.tokens()]

    def revoke_token(self, token_id: str) -> UserToken:
        """Refuses the token from now on. Role: admin. Raises NotFound."""
        return _token(self._calls.revoke_token(token_id))


def parse_duration(text: str) -> float:
    """Seconds of "90s", "30m", "1h" or "90d". Raises InvalidInput."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise InvalidInput(f"{text!r} is no duration: write 30m, 1h or 90d")
    return float(match[1]) * _UNITS[match[2]]


def _agent(wire: access_pb2.EnrolledAgent) -> EnrolledAgent:
    return EnrolledAgent(
        agent_id=wire.agent_id,
        enrolled=_moment(wire.enrolled),
        revoked=_moment(wire.revoked) if wire.HasField("revoked") else None,
        reason=wire.reason,
        labels=dict(wire.labels),
        project=wire.project,
    )


def _token(wire: access_pb2.Token) -> UserToken:
    return UserToken(
        token_id=wire.token_id,
        name=wire.name,
        role=access_pb2.Role.Name(wire.role).removeprefix("ROLE_").lower(),
        created=_moment(wire.created),
        expires=_moment(wire.expires) if wire.HasField("expires") else None,
        revoked=_moment(wire.revoked) if wire.HasField("revoked") else None,
        project=wire.project,
        token=wire.token or None,
    )


def _moment(wire: Timestamp) -> datetime.datetime:
    moment: datetime.datetime = wire.ToDatetime(tzinfo=datetime.UTC)
    return moment
