"""The control stream to the coordinator: opened, kept, and opened again after every loss."""

import asyncio
import contextlib
import random
from typing import Any, Protocol

import grpc
import grpc.aio
import structlog

from tunefarm_agent.backoff import pauses
from tunefarm_agent.errors import Refused, Superseded
from tunefarm_agent.settings import Settings
from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc

PROTOCOLS = (1,)
_REFUSALS = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)
_FAREWELL_SECONDS = 2.0

_log = structlog.get_logger()


class Party(Protocol):
    """Who the session speaks for."""

    def refs(self) -> list[farm_pb2.LeaseRef]: ...
    def heartbeat(self) -> farm_pb2.AgentMessage: ...
    def welcome(self, forget: Any) -> None: ...
    def handle(self, message: farm_pb2.CoordinatorMessage) -> None: ...
    def session_lost(self) -> None: ...


class Session:
    """Keeps one stream alive. `send` never blocks: messages go out in order, or not at all."""

    def __init__(
        self, stub: farm_pb2_grpc.FarmServiceStub, settings: Settings, hello: farm_pb2.Hello, party: Party
    ) -> None:
        """`hello`: all of it but the leases, which the party names."""
        self._stub = stub
        self._settings = settings
        self._hello = hello
        self._party = party
        self._outbox: asyncio.Queue[farm_pb2.AgentMessage | None] | None = None
        self._timeout = settings.session_timeout
        self._welcomed = False

    def send(self, message: farm_pb2.AgentMessage) -> bool:
        """Put a message on the stream; False if there is none."""
        if self._outbox is None:
            return False
        self._outbox.put_nowait(message)
        return True

    async def run(self) -> None:
        """Stay attached until cancelled. Raises Refused, Superseded."""
        loop = asyncio.get_running_loop()
        tries = self._pauses()
        last_seen = loop.time()
        while True:
            self._welcomed = False
            reason = await self._attach_once()
            if self._welcomed:
                tries, last_seen = self._pauses(), loop.time()
            pause = next(tries)
            _log.warning("no coordinator", address=self._settings.address, reason=reason, next_try=round(pause, 2))
            until_lost = last_seen + self._timeout - loop.time()
            first = min(pause, max(0.0, until_lost))
            await asyncio.sleep(first)
            if until_lost <= first:
                self._party.session_lost()
            await asyncio.sleep(pause - first)

    def _pauses(self) -> Any:
        return pauses(self._settings.first_pause, self._settings.longest_pause, random.Random())

    async def farewell(self) -> None:
        """Wait, not for long, until what was sent is on its way."""
        if self._outbox is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    self._outbox.put_nowait(None)
                    await self._outbox.join()

    async def _attach_once(self) -> str:
        """One stream, from hello to its end; why it ended."""
        call = self._stub.Attach()
        try:
            await self._greet(call)
            return await self._converse(call)
        except grpc.aio.AioRpcError as error:
            return self._judge(error.code(), error.details() or "")
        except TimeoutError:
            return f"no answer within {self._settings.welcome_timeout:g} s"
        finally:
            self._outbox = None
            call.cancel()

    async def _greet(self, call: Any) -> None:
        """Hello, welcome; from here on the stream lives."""
        hello = farm_pb2.Hello()
        hello.CopyFrom(self._hello)
        hello.leases.extend(self._party.refs())
        async with asyncio.timeout(self._settings.welcome_timeout):
            await call.write(farm_pb2.AgentMessage(hello=hello))
            message = await call.read()
        if message == grpc.aio.EOF:
            raise await _ended(call)
        welcome = message.welcome
        if message.WhichOneof("message") != "welcome" or welcome.protocol not in PROTOCOLS:
            raise Refused(
                f"the coordinator at {self._settings.address} speaks protocol {welcome.protocol}, this agent "
                f"{', '.join(map(str, PROTOCOLS))}: update the older of the two"
            )
        self._welcomed = True
        self._timeout = welcome.session_timeout.ToTimedelta().total_seconds() or self._timeout
        self._interval = welcome.heartbeat_interval.ToTimedelta().total_seconds() or self._settings.heartbeat_interval
        _log.info("attached", address=self._settings.address, session=welcome.session_id)
        self._outbox = asyncio.Queue()
        self._party.welcome(welcome.forget)

    async def _converse(self, call: Any) -> str:
        """Read, write and beat until the first of them ends."""
        tasks = [asyncio.create_task(t) for t in (self._read(call), self._write(call), self._beat())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # A broken write says less about the cause than the stream's status, which the reader gets.
            if tasks[0] not in done:
                await asyncio.wait([tasks[0]], timeout=1.0)
            for task in tasks:
                if task.done() and (error := task.exception()) is not None:
                    raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return "the coordinator ended the stream"

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) != grpc.aio.EOF:
            self._party.handle(message)
        raise await _ended(call)

    async def _write(self, call: Any) -> None:
        outbox = self._outbox
        while outbox is not None:
            message = await outbox.get()
            if message is not None:
                await call.write(message)
            else:
                await call.done_writing()
            outbox.task_done()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self.send(self._party.heartbeat())

    def _judge(self, code: grpc.StatusCode, details: str) -> str:
        """Is it worth another try? Raises Refused, Superseded."""
        if code in _REFUSALS:
            raise Refused(f"the coordinator at {self._settings.address} refused this agent: {details}")
        if code is grpc.StatusCode.ABORTED and self._welcomed:
            raise Superseded(
                f"another agent attached as {self._hello.agent_id}: give each its own --agent-id and --state-dir"
            )
        return f"{code.name}: {details}"


async def _ended(call: Any) -> grpc.aio.AioRpcError:
    """The status that the stream ended with."""
    return grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )
