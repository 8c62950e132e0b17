"""The register of everybody who may do something: users by token, agents by certificate.

All of it is in memory, as this coordinator is the store's one writer; what is asked for is durable before it is
answered. Runs on one event loop.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tunefarm_coordinator.access.authority import Authority, SigningRequest
from tunefarm_coordinator.access.roles import Agent, Role, User
from tunefarm_coordinator.errors import InvalidInput, NotFound, Unauthenticated
from tunefarm_coordinator.schedules.access_reads import EnrolledAgent
from tunefarm_coordinator.schedules.changes import AddAgent, AddInvite, AddToken, RevokeAgent, RevokeToken
from tunefarm_coordinator.schedules.store import Store
from tunefarm_proto.trust import Token, new_token, parse_token

AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_TEXT = 200
_MOST_LABELS = 64
_LEAST_SECONDS = 1.0


@dataclass(frozen=True)
class Enrolment:
    """What an agent gets: its certificate (PEM), and its invite's labels."""

    certificate: bytes
    labels: Mapping[str, str]


class Register:
    """Answers who somebody is, and takes people and boards in and out."""

    def __init__(
        self,
        store: Store,
        authority: Authority,
        on_revoked: Callable[[str, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Blocks for a read of the store. `on_revoked`: told (agent id, reason) once a revocation is durable."""
        self._store = store
        self._authority = authority
        self._on_revoked = on_revoked
        self._clock = clock
        self._tokens = {token.token_id: token for token in store.tokens()}
        self._invites = {invite.invite_id: invite for invite in store.invites()}
        self._agents = {agent.agent_id: agent for agent in store.agents()}

    # ---- who is this?

    def user(self, text: str) -> User:
        """Whose token this is. Raises Unauthenticated."""
        token = parse_token(text)
        known = None if token is None or token.kind != "tft" else self._tokens.get(token.token_id)
        if token is None or known is None or not _matches(token, known.secret_hash):
            raise Unauthenticated("this token is not this farm's: ask its admin for `tunefarm farm token create`")
        if known.revoked is not None:
            raise Unauthenticated(
                f"token {known.token_id} ({known.name}) was revoked: ask the farm's admin for another"
            )
        if known.expires is not None and self._clock() >= known.expires:
            raise Unauthenticated(f"token {known.token_id} ({known.name}) expired: ask the farm's admin for one")
        return User(known.token_id, known.name, Role(known.role), known.project)

    def agent(self, common_name: str) -> Agent:
        """The agent of a certificate that TLS found to be the authority's. Raises Unauthenticated."""
        known = self._agents.get(common_name)
        if known is None:
            raise Unauthenticated(f"no agent {common_name[:_LONGEST_TEXT]!r} is enrolled here: join again")
        if known.revoked is not None:
            reason = f": {known.reason}" if known.reason else ""
            raise Unauthenticated(
                f"agent {common_name} was revoked{reason}; to come back it joins with a new invite and --agent-id"
            )
        return Agent(common_name)

    # ---- agents

    async def invite(self, labels: Mapping[str, str], project: str, seconds: float) -> tuple[Token, float]:
        """(the invite's token, when it expires as Unix time). Raises InvalidInput."""
        _check_labels(labels)
        _check_text("project", project)
        _check_duration(seconds)
        token = new_token("tfj", self._authority.digest)
        now = self._clock()
        invite = AddInvite(token.token_id, _hash(token), dict(labels), project, now, now + seconds)
        await asyncio.wrap_future(self._store.write(invite))
        self._invites[invite.invite_id] = invite
        return token, invite.expires

    async def enrol(self, text: str, agent_id: str, request: SigningRequest) -> Enrolment:
        """Sign an agent's key and use its invite up; the same again is answered again.

        Raises Unauthenticated, InvalidInput, Conflict (an agent of this id enrolled before).
        """
        check_agent_id(agent_id)
        token = parse_token(text)
        invite = None if token is None or token.kind != "tfj" else self._invites.get(token.token_id)
        if token is None or invite is None or not _matches(token, invite.secret_hash):
            raise Unauthenticated("this invite is not one of this farm's: ask its admin for `tunefarm farm invite`")
        if self._clock() >= invite.expires:
            raise Unauthenticated(f"invite {invite.invite_id} expired: ask the farm's admin for another")
        known = self._agents.get(agent_id)
        again = invite.agent_id == agent_id and known is not None and known.key_digest == request.key_digest
        if invite.agent_id is not None and not again:
            raise Unauthenticated(f"invite {invite.invite_id} was used before: each is for one board, ask for another")
        if again:
            self.agent(agent_id)
        else:
            await self._add(invite, agent_id, request)
        return Enrolment(self._authority.sign(agent_id, request), invite.labels)

    async def _add(self, invite: AddInvite, agent_id: str, request: SigningRequest) -> None:
        change = AddAgent(agent_id, invite.invite_id, request.key_digest, invite.labels, invite.project, self._clock())
        try:
            await asyncio.wrap_future(self._store.write(change))
        except NotFound as error:
            raise Unauthenticated(f"invite {invite.invite_id} was used before: ask for another") from error
        self._invites[invite.invite_id] = replace(invite, agent_id=agent_id)
        self._agents[agent_id] = EnrolledAgent(
            agent_id, change.key_digest, dict(change.labels), change.project, change.enrolled, None, ""
        )

    def agents(self) -> list[EnrolledAgent]:
        """All that ever enrolled, by id."""
        return [agent for _, agent in sorted(self._agents.items())]

    async def revoke_agent(self, agent_id: str, reason: str) -> EnrolledAgent:
        """Refuse the agent from now on. Raises NotFound."""
        _check_text("reason", reason)
        if agent_id not in self._agents:
            raise NotFound(f"no agent {agent_id[:_LONGEST_TEXT]!r} is enrolled: see `tunefarm farm agents`")
        at = self._clock()
        await asyncio.wrap_future(self._store.write(RevokeAgent(agent_id, at, reason)))
        known = self._agents[agent_id]
        if known.revoked is None:
            known = self._agents[agent_id] = replace(known, revoked=at, reason=reason)
            self._on_revoked(agent_id, reason)
        return known

    # ---- users

    async def create_token(self, name: str, role: Role, project: str, seconds: float | None) -> tuple[Token, AddToken]:
        """(the token, what is kept of it). `seconds`: until it expires; None: never. Raises InvalidInput."""
        _check_text("name", name)
        _check_text("project", project)
        if seconds is not None:
            _check_duration(seconds)
        token = new_token("tft", self._authority.digest)
        now = self._clock()
        expires = None if seconds is None else now + seconds
        kept = AddToken(token.token_id, _hash(token), name, role.value, project, now, expires)
        await asyncio.wrap_future(self._store.write(kept))
        self._tokens[kept.token_id] = kept
        return token, kept

    def tokens(self) -> list[AddToken]:
        """All tokens, by id."""
        return [token for _, token in sorted(self._tokens.items())]

    async def revoke_token(self, token_id: str) -> AddToken:
        """Refuse the token from now on. Raises NotFound."""
        if token_id not in self._tokens:
            raise NotFound(f"no token {token_id[:_LONGEST_TEXT]!r}: see `tunefarm farm token list`")
        at = self._clock()
        await asyncio.wrap_future(self._store.write(RevokeToken(token_id, at)))
        known = self._tokens[token_id]
        if known.revoked is None:
            known = self._tokens[token_id] = replace(known, revoked=at)
        return known


def check_agent_id(agent_id: str) -> None:
    """Raises InvalidInput for a name that is not allowed."""
    if AGENT_ID.fullmatch(agent_id) is None:
        raise InvalidInput("an agent's id is 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first")


def _hash(token: Token) -> str:
    return hashlib.sha256(token.secret.encode()).hexdigest()


def _matches(token: Token, secret_hash: str) -> bool:
    return hmac.compare_digest(_hash(token), secret_hash)


def _check_labels(labels: Mapping[str, str]) -> None:
    if len(labels) > _MOST_LABELS:
        raise InvalidInput(f"at most {_MOST_LABELS} labels, not {len(labels)}")
    for key, value in labels.items():
        _check_text("label", key)
        _check_text(f"label {key}", value)
        if not key:
            raise InvalidInput("a label is KEY=VALUE, and its key is not empty")


def _check_text(what: str, value: str) -> None:
    if len(value) > _LONGEST_TEXT or not all(character.isprintable() for character in value):
        raise InvalidInput(f"the {what} is at most {_LONGEST_TEXT} printable characters")


def _check_duration(seconds: float) -> None:
    if seconds < _LEAST_SECONDS:
        raise InvalidInput("it would expire at once: give a longer time, such as 1h")
