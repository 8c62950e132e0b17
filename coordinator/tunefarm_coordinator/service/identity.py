"""Who calls, and whether they may: read from the peer's certificate or token once, before any servicer runs."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any

from tunefarm_coordinator.access.register import Register
from tunefarm_coordinator.access.roles import AGENT, NEEDED, OPEN, Agent, Caller, Everybody, Role, User, allows
from tunefarm_coordinator.errors import PermissionDenied, Unauthenticated
from tunefarm_coordinator.service.interception import AroundInterceptor

_EVERYBODY = Everybody()
_caller: ContextVar[Caller] = ContextVar("caller", default=_EVERYBODY)
_BEARER = "Bearer "


def caller() -> Caller:
    """Who the present call comes from."""
    return _caller.get()


class AccessInterceptor(AroundInterceptor):
    """Lets a call through if its caller has the role that its RPC needs. An RPC without one is nobody's."""

    def __init__(self, register: Register) -> None:
        self._register = register

    def around(self, context: Any, method: str) -> AbstractAsyncContextManager[None]:
        return self._admitted(context, method)

    @asynccontextmanager
    async def _admitted(self, context: Any, method: str) -> AsyncIterator[None]:
        needed = NEEDED.get(method)
        if needed != OPEN:
            who = self._identify(context)
            if needed is None or not allows(who, needed):
                raise PermissionDenied(_refusal(who, method.rpartition("/")[2], needed))
            # The call is a task of its own: nothing to set back.
            _caller.set(who)
        yield

    def _identify(self, context: Any) -> Caller:
        """Raises Unauthenticated."""
        names = context.auth_context().get("x509_common_name", ())
        if names:
            return self._register.agent(names[0].decode(errors="replace"))
        said = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not isinstance(said, str) or not said.startswith(_BEARER):
            raise Unauthenticated("no token came with the call: give --token or TUNEFARM_TOKEN (SDK: token=)")
        return self._register.user(said.removeprefix(_BEARER))


def _refusal(who: Caller, rpc: str, needed: Role | str | None) -> str:
    if needed == AGENT:
        return f"{rpc} is for agents, which join with `tunefarm-agent join`"
    if not isinstance(needed, Role):
        return f"{rpc} is for nobody"
    has = f"token {who.token_id} has the role {who.role.name.lower()}" if isinstance(who, User) else "an agent has none"
    return (
        f"{rpc} needs the role {needed.name.lower()}, and {has}: "
        f"ask the farm's admin for `tunefarm farm token create --role {needed.name.lower()}`"
    )


def check_agent(agent_id: str) -> None:
    """Raises PermissionDenied where the caller is an agent, and another one than it says."""
    who = caller()
    if isinstance(who, Agent) and who.agent_id != agent_id:
        raise PermissionDenied(f"this certificate is of agent {who.agent_id}, not of {agent_id[:100]!r}")
