"""FarmService over real gRPC on loopback: what an agent may count on, whatever breaks."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.messages import Gate
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.maintenance import Maintenance
from tunefarm_coordinator.errors import NoDevice, StoreError
from tunefarm_coordinator.farm.messages import Deliver, ItemLost, Work, WorkKind
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.schedules.device_class import device_class
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.errors import TRACE_KEY, ErrorInterceptor
from tunefarm_coordinator.service.farm import FarmServicer
from tunefarm_proto.v1 import common_pb2, farm_pb2, farm_pb2_grpc

TARGET = json.dumps({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "znver4", "num-cores": 2})
LIMIT = 1 << 20
SECONDS = 5.0


class Job:
    """The job side: callbacks that keep what they are given, once `disk` lets them."""

    def __init__(self) -> None:
        self.disk = asyncio.Event()
        self.disk.set()
        self.full = False
        self.outcomes: list[tuple[Deliver, farm_pb2.OutcomeReport]] = []
        self.lost: list[ItemLost] = []

    async def outcome(self, delivered: Deliver, report: farm_pb2.OutcomeReport) -> None:
        await self.disk.wait()
        if self.full:
            raise StoreError("the disk is full")
        self.outcomes.append((delivered, report))

    async def on_lost(self, lost: ItemLost) -> None:
        self.lost.append(lost)


class Farm:
    """A served farm, and the client's end of it."""

    def __init__(self, control: FarmControl, artifacts: ArtifactStore, stub: Any, channel: Any) -> None:
        self.control = control
        self.artifacts = artifacts
        self.stub = stub
        self.channel = channel
        self.job = Job()

    def submit(self, items: int = 2, *, resumed: bool = False, indices: tuple[int, ...] = ()) -> None:
        measure = farm_pb2.MeasureWork(workload="w", candidates=[farm_pb2.Candidate() for _ in range(items)])
        payload = farm_pb2.Lease(measure=measure, trace_id="trace")
        work = Work("work", "job", TARGET, items, WorkKind.MEASURE, 60.0, indices=indices, payload=payload)
        self.control.submit(work, self.job.outcome, self.job.on_lost, resumed=resumed)


@asynccontextmanager
async def served(folder: Path, epoch: int = 1, **options: Any) -> AsyncIterator[Farm]:
    control = FarmControl(epoch, **options)
    artifacts = ArtifactStore(folder)
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    store = Store.open(f"sqlite:///{folder.parent / 'farm.db'}")
    maintenance = Maintenance(control, store)
    await maintenance.recover()
    farm_pb2_grpc.add_FarmServiceServicer_to_server(FarmServicer(control, artifacts, maintenance, LIMIT), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    control.start()
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Farm(control, artifacts, farm_pb2_grpc.FarmServiceStub(channel), channel)
    finally:
        await control.stop()
        await maintenance.stop()
        await server.stop(0)
        store.close()


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    async with served(tmp_path / "artifacts") as farm:
        yield farm


def hello(agent: str = "agent", **changes: Any) -> farm_pb2.Hello:
    device = common_pb2.Device(device_id="cpu0", name="board", fingerprint="print", target=TARGET)
    device.facts["cpu_model"] = "EPYC"
    fields: dict[str, Any] = {"protocols": [1], "agent_id": agent, "boot_id": "boot", "devices": [device]}
    return farm_pb2.Hello(**(fields | changes))


class Agent:
    """The agent's end of one stream."""

    def __init__(self, farm: Farm) -> None:
        self.call = farm.stub.Attach()

    async def attach(self, **changes: Any) -> farm_pb2.Welcome:
        await self.say(hello=hello(**changes))
        return (await self.hear("welcome")).welcome

    async def say(self, **message: Any) -> None:
        await self.call.write(farm_pb2.AgentMessage(**message))

    async def ask(self, slots: int = 1) -> None:
        await self.say(work_request=farm_pb2.WorkRequest(device_id="cpu0", slots=slots))

    async def hear(self, kind: str) -> farm_pb2.CoordinatorMessage:
        """The next message, which has to be of this kind."""
        message: farm_pb2.CoordinatorMessage = await asyncio.wait_for(self.call.read(), SECONDS)
        assert message != grpc.aio.EOF, await self.end()
        assert message.WhichOneof("message") == kind, message
        return message

    async def lease(self) -> farm_pb2.Lease:
        return (await self.hear("lease")).lease

    async def report(self, lease: Any, index: int, **outcome: Any) -> None:
        outcome = outcome or {"measured": farm_pb2.Measured(seconds=[0.5])}
        await self.say(
            outcome=farm_pb2.OutcomeReport(lease_id=lease.lease_id, attempt=lease.attempt, index=index, **outcome)
        )

    async def finish(self, lease: Any) -> None:
        await self.say(lease_finished=farm_pb2.LeaseFinished(lease_id=lease.lease_id, attempt=lease.attempt))

    async def hears_nothing(self, seconds: float = 0.2) -> None:
        """Nothing comes for a while; what comes next is `pending`."""
        self.pending: asyncio.Future[Any] = asyncio.ensure_future(self.call.read())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.pending), seconds)

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ends; reads on until it does."""
        async with asyncio.timeout(SECONDS):
            return await self.call.code(), await self.call.details()


def ref(lease: Any) -> farm_pb2.LeaseRef:
    return farm_pb2.LeaseRef(lease_id=lease.lease_id, attempt=lease.attempt)


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


# ---- leases and outcomes


async def test_a_lease_goes_out_its_outcomes_come_back_and_each_is_acknowledged(farm: Farm) -> None:
    agent = Agent(farm)
    welcome = await agent.attach()
    assert welcome.protocol == 1
    assert welcome.version.program
    assert welcome.session_timeout.ToTimedelta().total_seconds() == 10.0
    assert 0 < welcome.heartbeat_interval.ToTimedelta().total_seconds() < 10.0 / 2

    farm.submit(items=2)
    await agent.ask()
    lease = await agent.lease()
    assert (lease.lease_id, lease.attempt, lease.device_id, lease.job_id) == ("work", 1001, "cpu0", "job")
    assert (lease.trace_id, list(lease.indices), len(lease.measure.candidates)) == ("trace", [], 2)
    assert lease.time_limit.ToTimedelta().total_seconds() == 60.0

    for index in range(2):
        await agent.report(lease, index)
        ack = (await agent.hear("ack")).ack
        assert (ack.lease_id, ack.attempt, ack.index) == ("work", 1001, index)
    delivered, report = farm.job.outcomes[1]
    assert (delivered.index, delivered.late, delivered.device.fingerprint) == (1, False, "print")
    assert delivered.device.device_class == device_class({"cpu_model": "EPYC"})
    assert list(report.measured.seconds) == [0.5]


async def test_no_acknowledgement_before_the_outcome_is_durable(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.attach()
    farm.submit()
    await agent.ask()
    lease = await agent.lease()
    farm.job.disk.clear()
    await agent.report(lease, 0)
    await agent.hears_nothing()
    farm.job.disk.set()
    message = await asyncio.wait_for(agent.pending, SECONDS)
    assert message.ack.index == 0


async def test_an_outcome_that_is_not_recorded_ends_the_stream_and_is_taken_the_next_time(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.attach()
    farm.submit(items=1)
    await agent.ask()
    lease = await agent.lease()
    farm.job.full = True
    await agent.report(lease, 0)
    code, message = await agent.end()
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "the disk is full" in message

    farm.job.full = False
    again = Agent(farm)
    assert not (await again.attach(leases=[ref(lease)])).forget
    await again.report(lease, 0)
    assert (await again.hear("ack")).ack.index == 0
    assert [delivered.late for delivered, _ in farm.job.outcomes] == [False]


async def test_an_agent_that_loses_its_stream_goes_on_with_its_lease(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.attach()
    farm.submit(items=2)
    await agent.ask()
    lease = await agent.lease()
    await agent.report(lease, 0)
    await agent.hear("ack")
    agent.call.cancel()

    again = Agent(farm)
    stranger = farm_pb2.LeaseRef(lease_id="unheard of", attempt=1001)
    welcome = await again.attach(leases=[ref(lease), stranger])
    assert list(welcome.forget) == [stranger]
    await again.ask(2)
    await again.report(lease, 0)  # its acknowledgement may have been lost
    await again.hear("ack")
    await again.report(lease, 1)
    await again.hear("ack")
    assert [delivered.index for delivered, _ in farm.job.outcomes] == [0, 1]


async def test_after_a_restart_of_the_coordinator_the_holder_goes_on_even_if_it_is_back_before_the_job(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, epoch=2) as farm:
        agent = Agent(farm)
        held = farm_pb2.LeaseRef(lease_id="work", attempt=1001)
        assert not (await agent.attach(leases=[held])).forget
        await agent.report(held, 1)
        await agent.hears_nothing()
        farm.submit(items=3, indices=(1, 2), resumed=True)
        assert (await asyncio.wait_for(agent.pending, SECONDS)).ack.index == 1
        await agent.report(held, 2)
        await agent.hear("ack")
        assert [(d.index, d.lease.attempt, d.late) for d, _ in farm.job.outcomes] == [
            (1, 1001, False),
            (2, 1001, False),
        ]


async def test_the_work_of_a_silent_agent_goes_to_another_with_the_indices_that_are_left(tmp_path: Path) -> None:
    async with served(tmp_path, policy=FarmPolicy(session_timeout=0.6)) as farm:
        silent, other = Agent(farm), Agent(farm)
        await silent.attach()
        farm.submit(items=3)
        await silent.ask()
        lease = await silent.lease()
        await silent.report(lease, 0)
        await silent.hear("ack")
        await other.attach(agent="other")
        await other.ask()

        async def beat() -> None:
            while True:
                await other.say(heartbeat=farm_pb2.Heartbeat())
                await asyncio.sleep(0.1)

        beating = asyncio.create_task(beat())
        taken = await other.lease()
        assert (taken.attempt, list(taken.indices)) == (1002, [1, 2])
        code, message = await silent.end()
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "nothing heard of agent agent" in message
        beating.cancel()


async def test_withdrawn_work_is_cancelled_and_what_was_measured_meanwhile_is_let_go(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.attach()
    farm.submit()
    await agent.ask()
    lease = await agent.lease()
    farm.control.withdraw(["work"], "the job was cancelled")
    cancel = (await agent.hear("cancel")).cancel
    assert (cancel.lease, cancel.reason) == (ref(lease), "the job was cancelled")
    await agent.report(lease, 0)
    assert (await agent.hear("ack")).ack.index == 0
    assert farm.job.outcomes == []


async def test_an_item_that_the_device_died_of_twice_is_lost(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.attach()
    farm.submit(items=1)
    dead = common_pb2.Failure(kind=common_pb2.FAILURE_KIND_DEVICE_LOST, message="reset")
    for _ in range(2):
        await agent.ask()
        lease = await agent.lease()
        await agent.report(lease, 0, failed=dead)
        await agent.hear("ack")
        await agent.finish(lease)
    await until(lambda: farm.job.lost)
    assert [lost.kind.value for lost in farm.job.lost] == ["RUN_ERROR"]
    assert farm.job.outcomes == []


# ---- sessions


async def test_a_protocol_that_we_do_not_speak_is_refused_naming_both_sides(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.say(hello=hello(protocols=[7, 8], version=common_pb2.ProgramVersion(program="9.9")))
    code, message = await agent.end()
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "protocol 1" in message
    assert "7, 8" in message
    assert "9.9" in message


async def test_a_second_attach_of_an_agent_ends_the_first(farm: Farm) -> None:
    first, second = Agent(farm), Agent(farm)
    await first.attach()
    await second.attach()
    code, message = await first.end()
    assert code is grpc.StatusCode.ABORTED
    assert "agent" in message
    assert len(farm.control.devices()) == 1


async def test_an_agent_that_hangs_up_ends_its_stream_well(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.attach()
    await agent.call.done_writing()
    assert (await agent.end())[0] is grpc.StatusCode.OK
    assert farm.control.devices() == []


TWO_ALIKE = [common_pb2.Device(device_id="cpu0", target=TARGET)] * 2


@pytest.mark.parametrize(
    "first",
    [
        {"heartbeat": farm_pb2.Heartbeat()},
        {"hello": hello(agent="")},
        {"hello": hello(boot_id="b" * 300)},
        {"hello": hello(devices=[])},
        {"hello": hello(devices=TWO_ALIKE)},
        {"hello": hello(devices=[common_pb2.Device(device_id="cpu0", target="llvm -mcpu=znver4")])},
    ],
)
async def test_a_stream_that_begins_wrongly_is_refused(farm: Farm, first: dict[str, Any]) -> None:
    agent = Agent(farm)
    await agent.say(**first)
    assert (await agent.end())[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert farm.control.devices() == []


@pytest.mark.parametrize(
    "message",
    [
        {"hello": hello()},
        {"work_request": farm_pb2.WorkRequest(device_id="gpu7", slots=1)},
        {"outcome": farm_pb2.OutcomeReport(lease_id="work", attempt=1, index=0)},
    ],
)
async def test_nonsense_on_a_stream_ends_it(farm: Farm, message: dict[str, Any]) -> None:
    agent = Agent(farm)
    await agent.attach()
    await agent.say(**message)
    assert (await agent.end())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_gates_are_known_while_their_agent_is_there_or_may_come_back(tmp_path: Path) -> None:
    told: list[tuple[Gate, ...]] = []
    policy = FarmPolicy(session_timeout=0.3)
    async with served(tmp_path, on_gates=told.append, policy=policy) as farm:
        agent = Agent(farm)
        await agent.attach(gate="/run/gate", host_id="host")
        assert list(farm.control.gates) == [Gate("host", "/run/gate")]
        agent.call.cancel()
        await until(lambda: farm.control.devices() == [])
        assert list(farm.control.gates) == [Gate("host", "/run/gate")]
        await until(lambda: not farm.control.gates)
    assert told == [(Gate("host", "/run/gate"),), ()]


async def test_waiting_for_a_device_ends_when_one_that_serves_the_target_attaches(farm: Farm) -> None:
    with pytest.raises(NoDevice, match="registered: none"):
        await farm.control.wait_for_device(TARGET, 0.01)
    waiting = asyncio.create_task(farm.control.wait_for_device(TARGET))
    agent = Agent(farm)
    await agent.attach()
    assert [device.device_id for device in await asyncio.wait_for(waiting, SECONDS)] == ["cpu0"]


async def test_a_stopping_coordinator_tells_its_agents(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.attach()
    await farm.control.stop()
    code, message = await agent.end()
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "stopping" in message


# ---- artifacts


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


async def upload(farm: Farm, digest: str, *parts: bytes) -> farm_pb2.Artifact:
    requests = [farm_pb2.UploadArtifactRequest(data=part) for part in parts]
    requests[0].digest = digest
    artifact: farm_pb2.Artifact = await farm.stub.UploadArtifact(iter(requests), timeout=SECONDS)
    return artifact


async def fetch(farm: Farm, digest: str, offset: int = 0) -> list[farm_pb2.ArtifactChunk]:
    request = farm_pb2.FetchArtifactsRequest(artifacts=[farm_pb2.WantedArtifact(digest=digest, offset=offset)])
    messages = [message async for message in farm.stub.FetchArtifacts(request, timeout=SECONDS)]
    return [chunk for message in messages for chunk in message.chunks]


async def test_an_uploaded_artifact_is_fetched_again_also_from_the_middle(farm: Farm) -> None:
    content = bytes(range(256)) * 2500  # more than two chunks
    artifact = await upload(farm, digest_of(content), content[:1000], content[1000:])
    assert (artifact.digest, artifact.size) == (digest_of(content), len(content))
    chunks = await fetch(farm, artifact.digest)
    assert len(chunks) == 3
    assert chunks[0].total_size == len(content)
    assert b"".join(chunk.data for chunk in chunks) == content
    rest = await fetch(farm, artifact.digest, 300_001)
    assert b"".join(chunk.data for chunk in rest) == content[300_001:]
    assert rest[0].total_size == len(content)


async def test_an_empty_artifact_and_a_resume_at_the_very_end_still_say_the_size(farm: Farm) -> None:
    await upload(farm, digest_of(b""), b"")
    assert [(chunk.data, chunk.total_size) for chunk in await fetch(farm, digest_of(b""))] == [(b"", 0)]
    await upload(farm, digest_of(b"abc"), b"abc")
    assert [(chunk.data, chunk.total_size) for chunk in await fetch(farm, digest_of(b"abc"), 3)] == [(b"", 3)]


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "sha256:../x", "sha256:" + "A" * 64, "md5:" + "0" * 32])
async def test_a_name_that_is_no_digest_is_refused(farm: Farm, digest: str) -> None:
    for call in (fetch(farm, digest), upload(farm, digest, b"x")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_is_not_there_or_does_not_match_or_is_too_large_leaves_nothing(farm: Farm, tmp_path: Path) -> None:
    absent = digest_of(b"absent")
    large = b"x" * (LIMIT // 2 + 1)
    for call, code in (
        (fetch(farm, absent), grpc.StatusCode.NOT_FOUND),
        (upload(farm, absent, b"other"), grpc.StatusCode.INVALID_ARGUMENT),
        (upload(farm, digest_of(large * 2), large, large), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is code
    assert list((tmp_path / "artifacts").iterdir()) == []


# ---- devices and errors


async def test_devices_are_listed_in_pages(farm: Farm) -> None:
    agents = [Agent(farm) for _ in range(3)]
    for number, agent in enumerate(agents):
        await agent.attach(agent=f"agent{number}")
    farm.submit()
    await agents[1].ask()
    await agents[1].lease()
    first = await farm.stub.ListDevices(farm_pb2.ListDevicesRequest(page_size=2), timeout=SECONDS)
    rest = await farm.stub.ListDevices(
        farm_pb2.ListDevicesRequest(page_size=2, page_token=first.next_page_token), timeout=SECONDS
    )
    statuses = [*first.devices, *rest.devices]
    assert [(status.agent_id, status.device.device_id) for status in statuses] == [
        (f"agent{number}", "cpu0") for number in range(3)
    ]
    assert rest.next_page_token == ""
    assert [status.state for status in statuses] == [
        common_pb2.DEVICE_STATE_IDLE,
        common_pb2.DEVICE_STATE_BUSY,
        common_pb2.DEVICE_STATE_IDLE,
    ]
    assert statuses[1].running == "measure work"
    assert statuses[0].device_class == device_class({"cpu_model": "EPYC"})
    assert statuses[0].last_seen.seconds > 1_600_000_000


async def test_a_drained_device_gets_nothing_also_after_a_restart_until_it_is_resumed(tmp_path: Path) -> None:
    drain = farm_pb2.DrainDeviceRequest(agent_id="agent", reason="new fan")
    async with served(tmp_path / "artifacts") as farm:
        agent = Agent(farm)
        await agent.attach()
        answer = await farm.stub.DrainDevice(drain, timeout=SECONDS)
        assert [(d.state, d.reason) for d in answer.devices] == [(common_pb2.DEVICE_STATE_DRAINING, "new fan")]
    async with served(tmp_path / "artifacts", epoch=2) as farm:
        agent = Agent(farm)
        await agent.attach()
        farm.submit(items=1)
        await agent.ask()
        await agent.hears_nothing()
        resume = farm_pb2.ResumeDeviceRequest(agent_id="agent", device_id="cpu0")
        answer = await farm.stub.ResumeDevice(resume, timeout=SECONDS)
        assert answer.devices[0].reason == ""
        message = await asyncio.wait_for(agent.pending, SECONDS)
        assert message.lease.lease_id == "work"
    async with served(tmp_path / "artifacts", epoch=3) as farm:
        agent = Agent(farm)
        await agent.attach()
        farm.submit(items=1)
        await agent.ask()
        assert (await agent.lease()).lease_id == "work"


@pytest.mark.parametrize(("agent_id", "device_id"), [("stranger", ""), ("agent", "cpu7"), ("", "")])
async def test_a_device_that_nobody_knows_is_neither_drained_nor_resumed(
    farm: Farm, agent_id: str, device_id: str
) -> None:
    await Agent(farm).attach()
    for method, request in (
        (farm.stub.DrainDevice, farm_pb2.DrainDeviceRequest),
        (farm.stub.ResumeDevice, farm_pb2.ResumeDeviceRequest),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(request(agent_id=agent_id, device_id=device_id), timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert "tunefarm devices" in refused.value.details()


async def test_what_an_agent_says_of_itself_is_shown(farm: Farm) -> None:
    agent = Agent(farm)
    await agent.attach()
    sharing = {"cpu0": farm_pb2.Sharing(by="python3 (pid 4242)", busy=True)}
    await agent.say(heartbeat=farm_pb2.Heartbeat(temperatures={"cpu0": 61.5}, shared=sharing))
    farm.submit(items=1)
    await agent.ask()
    lease = await agent.lease()
    assert lease.fetch_limit.ToTimedelta().total_seconds() == 120.0
    await agent.report(lease, 0)
    await agent.hear("ack")
    (status,) = (await farm.stub.ListDevices(farm_pb2.ListDevicesRequest(), timeout=SECONDS)).devices
    assert (status.temperature, status.measured, status.failed) == (61.5, 1, 0)
    assert status.reason == "shared with python3 (pid 4242)"
    assert 0 < status.trials_per_second < 1
    assert not status.HasField("reference_seconds")


@pytest.mark.parametrize("token", ["x", "bm90IGpzb24=", "WzEsMl0=", "é"])
async def test_a_page_token_that_is_not_ours_is_refused(farm: Farm, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await farm.stub.ListDevices(farm_pb2.ListDevicesRequest(page_token=token), timeout=SECONDS)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_small_artifacts_come_together_and_large_ones_in_parts(farm: Farm) -> None:
    contents = [b"a" * 1000, b"", b"b" * 600_000, b"c" * 10]
    for content in contents:
        await upload(farm, digest_of(content), content)
    wanted = [farm_pb2.WantedArtifact(digest=digest_of(content)) for content in contents]
    request = farm_pb2.FetchArtifactsRequest(artifacts=wanted)
    messages = [message async for message in farm.stub.FetchArtifacts(request, timeout=SECONDS)]
    assert len(messages) == 3
    whole: dict[str, bytes] = {}
    for chunk in (chunk for message in messages for chunk in message.chunks):
        whole[chunk.digest] = whole.get(chunk.digest, b"") + chunk.data
    assert whole == {digest_of(content): content for content in contents}


async def test_a_defect_is_logged_with_a_trace_id_and_tells_the_caller_nothing_else(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> int:
        raise RuntimeError("the secret path /srv/x")

    monkeypatch.setattr(farm.artifacts, "chunk", broken)
    monkeypatch.setattr(farm.control, "views", broken)
    request = farm_pb2.FetchArtifactsRequest(artifacts=[farm_pb2.WantedArtifact(digest=digest_of(b""))])
    fetched = farm.stub.FetchArtifacts(request, timeout=SECONDS, metadata=((TRACE_KEY, "trace-7"),))
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as streamed:
        await fetched.read()
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as unary:
        await farm.stub.ListDevices(farm_pb2.ListDevicesRequest(), timeout=SECONDS)
    for error in (streamed.value, unary.value):
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in error.details()
    assert "trace-7" in streamed.value.details()
    assert "the secret path" in caplog.text
    assert next(record.__dict__["trace_id"] for record in caplog.records) == "trace-7"


async def test_grpcs_own_services_work_behind_the_interceptor(farm: Farm) -> None:
    stub = health_pb2_grpc.HealthStub(farm.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await asyncio.wait_for(watch.read(), SECONDS)).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Check(health_pb2.HealthCheckRequest(service="none such"), timeout=SECONDS)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
