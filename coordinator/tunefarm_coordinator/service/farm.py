"""FarmService on the wire: validate, call, convert. Errors are raised as they are; the interceptor maps them."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator

from tunefarm_coordinator.artifacts import CHUNK_BYTES, LARGEST_ARTIFACT_BYTES, ArtifactStore, check_digest
from tunefarm_coordinator.control.attachment import Attachment
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.maintenance import Maintenance
from tunefarm_coordinator.errors import InvalidInput, NotReady
from tunefarm_coordinator.service import farm_messages as wire
from tunefarm_coordinator.service.identity import check_agent
from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc

log = logging.getLogger(__name__)

PROTOCOLS = (1,)
HELLO_SECONDS = 10.0
DEFAULT_PAGE = 100
LARGEST_PAGE = 1000


class FarmServicer(farm_pb2_grpc.FarmServiceServicer):
    """See farm.proto for what each RPC promises."""

    def __init__(
        self,
        farm: FarmControl,
        artifacts: ArtifactStore,
        maintenance: Maintenance,
        largest_artifact: int = LARGEST_ARTIFACT_BYTES,
    ) -> None:
        """`largest_artifact`: bytes that an agent may upload in one piece."""
        self._farm = farm
        self._artifacts = artifacts
        self._maintenance = maintenance
        self._largest_artifact = largest_artifact

    # ---- the control stream

    async def Attach(
        self, requests: AsyncIterator[farm_pb2.AgentMessage], _context: object
    ) -> AsyncIterator[farm_pb2.CoordinatorMessage]:
        hello = await _hello(requests)
        protocol = negotiated(hello)
        check_agent(hello.agent_id)
        attachment = self._farm.attach(wire.hello_of(hello))
        reader = asyncio.create_task(self._read(requests, attachment))
        reader.add_done_callback(functools.partial(_end_with, attachment))
        try:
            yield wire.welcome(attachment, protocol, self._farm.policy)
            while (instruction := await attachment.next()) is not None:
                yield wire.message_to_agent(instruction)
        finally:
            reader.cancel()
            self._farm.detach(attachment)
            await asyncio.wait([reader])

    async def _read(self, requests: AsyncIterator[farm_pb2.AgentMessage], attachment: Attachment) -> None:
        async for message in requests:
            event = wire.event_of(message, attachment)
            if event is None:
                log.info("a message of an unknown kind is passed over", extra={"agent": attachment.hello.agent_id})
            else:
                self._farm.feed(event)

    # ---- artifacts

    async def FetchArtifacts(
        self, request: farm_pb2.FetchArtifactsRequest, _context: object
    ) -> AsyncIterator[farm_pb2.FetchArtifactsResponse]:
        # A lease's artifacts are many and small: one visit to the disk, one message.
        messages = self._chunked(request.artifacts)
        while (message := await asyncio.to_thread(next, messages, None)) is not None:
            yield message

    def _chunked(self, wanted: Iterable[farm_pb2.WantedArtifact]) -> Iterator[farm_pb2.FetchArtifactsResponse]:
        message, size = farm_pb2.FetchArtifactsResponse(), 0
        for artifact in wanted:
            done, total = artifact.offset, None
            while total is None or done < total:
                data, known = self._artifacts.chunk(artifact.digest, done)
                message.chunks.add(digest=artifact.digest, data=data, total_size=known if total is None else 0)
                done, total, size = done + len(data), known, size + len(data)
                if size >= CHUNK_BYTES:
                    yield message
                    message, size = farm_pb2.FetchArtifactsResponse(), 0
        if message.chunks:
            yield message

    async def UploadArtifact(
        self, requests: AsyncIterator[farm_pb2.UploadArtifactRequest], _context: object
    ) -> farm_pb2.Artifact:
        first = await anext(aiter(requests), None)
        if first is None:
            raise InvalidInput("an upload begins with a message that names the artifact's digest")
        digest = check_digest(first.digest)
        kept, size = await self._artifacts.receive(digest, _data(first, requests), self._largest_artifact)
        return farm_pb2.Artifact(digest=kept, size=size)

    # ---- devices

    async def ListDevices(self, request: farm_pb2.ListDevicesRequest, _context: object) -> farm_pb2.ListDevicesResponse:
        after = wire.page_start(request.page_token)
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        rest = [(v, seen) for v, seen in self._farm.views() if (v.agent_id, v.device.device_id) > after]
        page = rest[:size]
        return farm_pb2.ListDevicesResponse(
            devices=[wire.device_status(view, seen) for view, seen in page],
            next_page_token=wire.page_token(page[-1][0]) if len(rest) > size else "",
        )

    async def DrainDevice(self, request: farm_pb2.DrainDeviceRequest, _context: object) -> farm_pb2.ListDevicesResponse:
        keys = await self._maintenance.drain(request.agent_id, request.device_id, request.reason)
        return self._status_of(keys)

    async def ResumeDevice(
        self, request: farm_pb2.ResumeDeviceRequest, _context: object
    ) -> farm_pb2.ListDevicesResponse:
        return self._status_of(await self._maintenance.resume(request.agent_id, request.device_id))

    def _status_of(self, keys: Collection[tuple[str, str]]) -> farm_pb2.ListDevicesResponse:
        """Those of the devices that are here, or were lately."""
        views = [(v, seen) for v, seen in self._farm.views() if (v.agent_id, v.device.device_id) in keys]
        return farm_pb2.ListDevicesResponse(devices=[wire.device_status(view, seen) for view, seen in views])


def _end_with(attachment: Attachment, reader: asyncio.Task[None]) -> None:
    """The agent's side of the stream is over; so is ours, with the same error."""
    if not reader.cancelled():
        attachment.end(reader.exception())


def negotiated(hello: farm_pb2.Hello) -> int:
    """The newest protocol version that both sides speak. Raises NotReady, naming both sides' versions."""
    common = set(PROTOCOLS) & set(hello.protocols)
    if not common:
        ours, theirs = _listed(PROTOCOLS), _listed(tuple(hello.protocols)) or "none"
        raise NotReady(
            f"the coordinator (tunefarm {wire.program_version().program}) speaks farm protocol {ours}, "
            f"the agent (tunefarm {hello.version.program or 'unknown'}) {theirs}: update the older of the two"
        )
    return max(common)


def _listed(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, versions))


async def _hello(requests: AsyncIterator[farm_pb2.AgentMessage]) -> farm_pb2.Hello:
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            first = await anext(aiter(requests), None)
    except TimeoutError:
        raise InvalidInput(f"no hello within {HELLO_SECONDS:.0f} s") from None
    if first is None or first.WhichOneof("message") != "hello":
        raise InvalidInput("a stream begins with a hello")
    return first.hello


async def _data(
    first: farm_pb2.UploadArtifactRequest, rest: AsyncIterator[farm_pb2.UploadArtifactRequest]
) -> AsyncIterator[bytes]:
    yield first.data
    async for request in rest:
        if request.digest not in ("", first.digest):
            raise InvalidInput("an upload is of one artifact: its digest changed on the way")
        yield request.data
