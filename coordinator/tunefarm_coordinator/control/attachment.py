"""One agent's stream, as the farm's control and its service share it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from tunefarm_coordinator.errors import Conflict
from tunefarm_coordinator.farm.messages import Acknowledge, Cancel, FarmDevice, Grant, LeaseRef

ToAgent = Grant | Cancel | Acknowledge


class SessionReplaced(Conflict):
    """The same agent attached again; its older stream ends."""


@dataclass(frozen=True)
class Hello:
    """What an agent says of itself.

    `gate`: the Unix socket where workers on its host ask for permits, or empty; `held_on`: the device that each of its
    leases is of, as far as it says.
    """

    agent_id: str
    boot_id: str
    devices: tuple[FarmDevice, ...]
    leases: tuple[LeaseRef, ...] = ()
    gate: str = ""
    host_id: str = ""
    held_on: Mapping[LeaseRef, str] = field(default_factory=dict)


@dataclass(eq=False)
class Attachment:
    """One agent's stream. `forget`: leases of its hello that are not the agent's any more."""

    session: str
    hello: Hello
    forget: tuple[LeaseRef, ...] = ()
    _outbox: asyncio.Queue[ToAgent | BaseException | None] = field(default_factory=asyncio.Queue)

    async def next(self) -> ToAgent | None:
        """What to tell the agent next; None: nothing more. Raises the error that the session ended with."""
        message = await self._outbox.get()
        if isinstance(message, BaseException):
            raise message
        return message

    def put(self, message: ToAgent) -> None:
        self._outbox.put_nowait(message)

    def end(self, error: BaseException | None) -> None:
        """Nothing comes after this; with `error`, that is why."""
        self._outbox.put_nowait(error)
