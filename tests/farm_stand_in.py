"""A fake coordinator for tests of the agent: FarmService with nothing behind it.

It hands out the leases that a test puts in, notes what comes back, and loses streams, withholds
acknowledgements or refuses on request. It decides nothing that the real one decides.
"""

import asyncio
import functools
import hashlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration

from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc

_CHUNK = 64 << 10
# What takes longer hangs: no promise is meant, and a host that others use may be many times slower than an idle one.
_HUNG_SECONDS = 60.0
_OPTIONS = [
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]


class FakeCoordinator(farm_pb2_grpc.FarmServiceServicer):
    """Use as `async with FakeCoordinator() as farm`."""

    def __init__(self, protocol: int = 1, heartbeat: float = 0.5, session_timeout: float = 30.0) -> None:
        self.protocol = protocol
        self.heartbeat = heartbeat
        self.session_timeout = session_timeout
        self.acknowledges = True
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.break_fetch_after: int | None = None
        self.forget: list[farm_pb2.LeaseRef] = []
        self.artifacts: dict[str, bytes] = {}
        self.fetches: list[tuple[str, int]] = []
        self.hellos: list[farm_pb2.Hello] = []
        self.heartbeats: list[farm_pb2.Heartbeat] = []
        self.outcomes: dict[str, list[farm_pb2.OutcomeReport]] = defaultdict(list)
        self.came: dict[tuple[str, int], float] = {}
        self.endings: dict[str, farm_pb2.LeaseFinished] = {}
        self.slots: dict[str, int] = defaultdict(int)
        self.address = ""
        self._ending: tuple[grpc.StatusCode, str] | None = None
        self._waiting: list[farm_pb2.Lease] = []
        self._outbox: asyncio.Queue[farm_pb2.CoordinatorMessage | None] | None = None
        self._changed = asyncio.Condition()
        self._port = 0
        self._server: Any = None

    # ---- for tests

    async def __aenter__(self) -> "FakeCoordinator":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; the second time at the same port."""
        self._server = grpc.aio.server(options=_OPTIONS)
        farm_pb2_grpc.add_FarmServiceServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self.address = f"127.0.0.1:{self._port}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0.0)
        self._outbox = None

    def put(self, data: bytes) -> str:
        """An artifact's digest, which can be fetched from now on."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.artifacts[digest] = data
        return digest

    def lease(self, lease: farm_pb2.Lease) -> None:
        """Give a lease out as soon as its device asks for work."""
        self._waiting.append(lease)
        self._give()

    def cancel(self, lease_id: str, attempt: int = 1) -> None:
        ref = farm_pb2.LeaseRef(lease_id=lease_id, attempt=attempt)
        self.tell(farm_pb2.CoordinatorMessage(cancel=farm_pb2.CancelLease(lease=ref, reason="test")))

    def tell(self, message: farm_pb2.CoordinatorMessage) -> None:
        assert self._outbox is not None, "no agent is attached"
        self._outbox.put_nowait(message)

    def lose_stream(self, status: tuple[grpc.StatusCode, str] | None = None) -> None:
        """End the agent's stream, as a proxy would that restarts; or with a status."""
        self._ending = status
        if self._outbox is not None:
            self._outbox.put_nowait(None)

    async def until(self, condition: Callable[[], bool], seconds: float = _HUNG_SECONDS) -> None:
        """Wait for something that an agent's message makes true. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def attached(self, times: int = 1) -> None:
        await self.until(lambda: len(self.hellos) >= times)

    async def reports(self, lease_id: str, count: int, seconds: float = _HUNG_SECONDS) -> list[farm_pb2.OutcomeReport]:
        """The first `count` outcomes of a lease, in the order in which they came."""
        await self.until(lambda: len(self.outcomes[lease_id]) >= count, seconds)
        return self.outcomes[lease_id]

    async def finished(self, lease_id: str, seconds: float = _HUNG_SECONDS) -> farm_pb2.LeaseFinished:
        await self.until(lambda: lease_id in self.endings, seconds)
        return self.endings[lease_id]

    # ---- the service

    async def Attach(
        self, request_iterator: AsyncIterator[farm_pb2.AgentMessage], context: Any
    ) -> AsyncIterator[farm_pb2.CoordinatorMessage]:
        hello = (await anext(request_iterator)).hello
        if self.refusal is not None:
            await context.abort(*self.refusal)
        outbox: asyncio.Queue[farm_pb2.CoordinatorMessage | None] = asyncio.Queue()
        self._outbox = outbox
        self.slots.clear()
        outbox.put_nowait(farm_pb2.CoordinatorMessage(welcome=self._welcome()))
        await self._note(lambda: self.hellos.append(hello))
        reading = asyncio.create_task(self._read(request_iterator, outbox))
        try:
            while (message := await outbox.get()) is not None:
                yield message
            if self._ending is not None:
                await context.abort(*self._ending)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(
        self,
        messages: AsyncIterator[farm_pb2.AgentMessage],
        outbox: asyncio.Queue[farm_pb2.CoordinatorMessage | None],
    ) -> None:
        async for message in messages:
            await self._note(functools.partial(self._handle, message))
        outbox.put_nowait(None)

    def _handle(self, message: farm_pb2.AgentMessage) -> None:
        match message.WhichOneof("message"):
            case "heartbeat":
                self.heartbeats.append(message.heartbeat)
            case "work_request":
                self.slots[message.work_request.device_id] = message.work_request.slots
                self._give()
            case "outcome":
                self._outcome(message.outcome)
            case "lease_finished":
                self.endings[message.lease_finished.lease_id] = message.lease_finished
                self.came.setdefault((message.lease_finished.lease_id, -1), time.monotonic())

    def _outcome(self, report: farm_pb2.OutcomeReport) -> None:
        self.outcomes[report.lease_id].append(report)
        self.came.setdefault((report.lease_id, report.index), time.monotonic())
        if self.acknowledges:
            ack = farm_pb2.OutcomeAck(lease_id=report.lease_id, attempt=report.attempt, index=report.index)
            self.tell(farm_pb2.CoordinatorMessage(ack=ack))

    def _give(self) -> None:
        for lease in list(self._waiting):
            if self._outbox is not None and self.slots[lease.device_id] > 0:
                self.slots[lease.device_id] -= 1
                self._waiting.remove(lease)
                self.tell(farm_pb2.CoordinatorMessage(lease=lease))

    def _welcome(self) -> farm_pb2.Welcome:
        welcome = farm_pb2.Welcome(protocol=self.protocol, session_id="fake", forget=self.forget)
        for field, seconds in (
            (welcome.heartbeat_interval, self.heartbeat),
            (welcome.session_timeout, self.session_timeout),
        ):
            duration: Duration = field
            duration.FromMilliseconds(int(seconds * 1000))
        return welcome

    async def _note(self, change: Callable[[], object]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()

    async def FetchArtifacts(
        self, request: farm_pb2.FetchArtifactsRequest, context: Any
    ) -> AsyncIterator[farm_pb2.FetchArtifactsResponse]:
        for wanted in request.artifacts:
            self.fetches.append((wanted.digest, wanted.offset))
            data = self.artifacts.get(wanted.digest)
            if data is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"no artifact {wanted.digest}")
            assert data is not None
            for start in range(wanted.offset, len(data), _CHUNK):
                if self.break_fetch_after is not None and start - wanted.offset >= self.break_fetch_after:
                    self.break_fetch_after = None
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the line broke")
                chunk = farm_pb2.ArtifactChunk(
                    digest=wanted.digest, data=data[start : start + _CHUNK], total_size=len(data)
                )
                yield farm_pb2.FetchArtifactsResponse(chunks=[chunk])

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[farm_pb2.UploadArtifactRequest], context: Any
    ) -> farm_pb2.Artifact:
        first = await anext(request_iterator)
        data = first.data + b"".join([part.data async for part in request_iterator])
        digest = self.put(data)
        if digest != first.digest:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the digest does not match")
        return farm_pb2.Artifact(digest=digest, size=len(data))
