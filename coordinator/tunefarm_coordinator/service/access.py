"""AccessService on the wire: validate, call, convert. Roles were checked before; errors are raised as they are."""

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tunefarm_coordinator.access.authority import Authority, parse_request
from tunefarm_coordinator.access.register import Register
from tunefarm_coordinator.access.roles import Role
from tunefarm_coordinator.errors import InvalidInput, NotReady
from tunefarm_coordinator.schedules.access_reads import EnrolledAgent
from tunefarm_coordinator.schedules.changes import AddToken
from tunefarm_proto.v1 import access_pb2, access_pb2_grpc

Item = TypeVar("Item")

INVITE_SECONDS = 3600.0
_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000


class AccessServicer(access_pb2_grpc.AccessServiceServicer):
    """See access.proto for what each RPC promises."""

    def __init__(self, register: Register, authority: Authority, agent_port: int) -> None:
        self._register = register
        self._authority = authority
        self._agent_port = agent_port

    async def GetAuthority(self, _request: access_pb2.GetAuthorityRequest, _context: object) -> access_pb2.Authority:
        return access_pb2.Authority(certificate=self._authority.pem.decode())

    async def Enrol(self, request: access_pb2.EnrolRequest, _context: object) -> access_pb2.Certificate:
        signing = parse_request(request.signing_request)
        enrolment = await self._register.enrol(request.token, request.agent_id, signing)
        return access_pb2.Certificate(
            certificate=enrolment.certificate.decode(),
            authority=self._authority.pem.decode(),
            agent_port=self._agent_port,
            labels=enrolment.labels,
        )

    # ---- agents

    async def CreateInvite(self, request: access_pb2.CreateInviteRequest, _context: object) -> access_pb2.Invite:
        seconds = _seconds(request.expires) if request.HasField("expires") else INVITE_SECONDS
        token, expires = await self._register.invite(dict(request.labels), request.project, seconds)
        return access_pb2.Invite(invite_id=token.token_id, token=str(token), expires=_moment(expires))

    async def ListAgents(
        self, request: access_pb2.ListAgentsRequest, _context: object
    ) -> access_pb2.ListAgentsResponse:
        known = [(agent.agent_id, agent) for agent in self._register.agents()]
        page, following = _page(known, request.page_size, request.page_token)
        return access_pb2.ListAgentsResponse(agents=[_agent(agent) for agent in page], next_page_token=following)

    async def RevokeAgent(self, request: access_pb2.RevokeAgentRequest, _context: object) -> access_pb2.EnrolledAgent:
        return _agent(await self._register.revoke_agent(request.agent_id, request.reason))

    # ---- users

    async def CreateToken(self, request: access_pb2.CreateTokenRequest, _context: object) -> access_pb2.Token:
        try:
            role = Role(request.role)
        except ValueError:
            raise InvalidInput("a token has one of the roles viewer, submitter and admin") from None
        seconds = _seconds(request.expires) if request.HasField("expires") else None
        token, kept = await self._register.create_token(request.name, role, request.project, seconds)
        answer = _token(kept)
        answer.token = str(token)
        return answer

    async def ListTokens(
        self, request: access_pb2.ListTokensRequest, _context: object
    ) -> access_pb2.ListTokensResponse:
        known = [(token.token_id, token) for token in self._register.tokens()]
        page, following = _page(known, request.page_size, request.page_token)
        return access_pb2.ListTokensResponse(tokens=[_token(token) for token in page], next_page_token=following)

    async def RevokeToken(self, request: access_pb2.RevokeTokenRequest, _context: object) -> access_pb2.Token:
        return _token(await self._register.revoke_token(request.token_id))


class PlainAccessServicer(access_pb2_grpc.AccessServiceServicer):
    """AccessService of a coordinator that speaks plain text: there is no authority, and everybody may do everything."""

    async def GetAuthority(self, _request: access_pb2.GetAuthorityRequest, _context: object) -> access_pb2.Authority:
        return access_pb2.Authority()

    async def Enrol(self, _request: access_pb2.EnrolRequest, _context: object) -> access_pb2.Certificate:
        raise _no_authority()

    async def CreateInvite(self, _request: access_pb2.CreateInviteRequest, _context: object) -> access_pb2.Invite:
        raise _no_authority()

    async def ListAgents(
        self, _request: access_pb2.ListAgentsRequest, _context: object
    ) -> access_pb2.ListAgentsResponse:
        raise _no_authority()

    async def RevokeAgent(self, _request: access_pb2.RevokeAgentRequest, _context: object) -> access_pb2.EnrolledAgent:
        raise _no_authority()

    async def CreateToken(self, _request: access_pb2.CreateTokenRequest, _context: object) -> access_pb2.Token:
        raise _no_authority()

    async def ListTokens(
        self, _request: access_pb2.ListTokensRequest, _context: object
    ) -> access_pb2.ListTokensResponse:
        raise _no_authority()

    async def RevokeToken(self, _request: access_pb2.RevokeTokenRequest, _context: object) -> access_pb2.Token:
        raise _no_authority()


def _no_authority() -> NotReady:
    return NotReady(
        "this coordinator speaks plain text, so it enrols nobody and has no tokens: agents attach with "
        "`tunefarm-agent run --connect`; for TLS start it with --tls, or listen off loopback"
    )


def _page(known: Sequence[tuple[str, Item]], size: int, after: str) -> tuple[list[Item], str]:
    """(the items behind the id `after`, the id that the next page goes on from, or empty)."""
    rest = [(name, item) for name, item in known if name > after]
    page = rest[: min(size or _DEFAULT_PAGE, _LARGEST_PAGE)]
    return [item for _, item in page], page[-1][0] if len(rest) > len(page) else ""


def _agent(agent: EnrolledAgent) -> access_pb2.EnrolledAgent:
    return access_pb2.EnrolledAgent(
        agent_id=agent.agent_id,
        enrolled=_moment(agent.enrolled),
        revoked=_moment(agent.revoked),
        reason=agent.reason,
        labels=agent.labels,
        project=agent.project,
    )


def _token(token: AddToken) -> access_pb2.Token:
    return access_pb2.Token(
        token_id=token.token_id,
        name=token.name,
        role=access_pb2.Role.Name(token.role),
        created=_moment(token.created),
        expires=_moment(token.expires),
        revoked=_moment(token.revoked),
        project=token.project,
    )


def _moment(unix: float | None) -> Timestamp | None:
    if unix is None:
        return None
    moment = Timestamp()
    moment.FromNanoseconds(int(unix * 1e9))
    return moment


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
