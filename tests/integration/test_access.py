"""A farm over TLS, with real programs: who is let in, who is not, and what bad peers can do to the others."""

import contextlib
import itertools
import os
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.programs import Program, assert_nothing_left, coordinator, document, tunefarm, until
from tests.tiny_models import save_tiny_cnn
from tests.unit.access.test_register import request_pem
from tunefarm import Client
from tunefarm.errors import Denied, InvalidInput, Unreachable
from tunefarm_agent.credentials import Membership
from tunefarm_agent.credentials import join as join_farm
from tunefarm_coordinator.access.authority import Authority, parse_request
from tunefarm_coordinator.access.roles import AGENT, NEEDED, OPEN, Role
from tunefarm_proto.pinning import SECURE_OPTIONS
from tunefarm_proto.trust import new_token, parse_token
from tunefarm_proto.v1 import access_pb2, access_pb2_grpc, farm_pb2, farm_pb2_grpc, tuning_pb2

REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
SECONDS = 10.0
RPCS = sorted(name for name in NEEDED if not name.endswith("/Watch"))  # health's never ends by itself


@dataclass
class Farm:
    """A running coordinator, its first admin's token, and channels to it."""

    home: Path
    address: str
    admin: str
    process: psutil.Process

    @property
    def data(self) -> Path:
        return self.home / "data" / "tunefarm"

    @property
    def authority(self) -> bytes:
        return (self.data / "authority" / "authority.pem").read_bytes()

    @contextlib.contextmanager
    def client(self, token: str | None = None) -> Iterator[Client]:
        with Client(self.address, token=token or self.admin) as client:
            yield client

    def joined(self, name: str) -> Membership:
        """A new agent's papers."""
        with self.client() as client:
            invite = client.access.invite({"made": "here"})
        folder = self.home / name
        folder.mkdir()
        return join_farm(self.address, "127.0.0.1", invite.token, name, folder)

    @contextlib.contextmanager
    def users(self) -> Iterator[grpc.Channel]:
        with secure(self.address, grpc.ssl_channel_credentials(self.authority)) as channel:
            yield channel

    def written(self) -> dict[str, int]:
        """Every file that a bad peer might have wished for, and its size; not what the store itself moves."""
        return {
            str(path.relative_to(self.home)): path.stat().st_size
            for path in self.home.rglob("*")
            if path.is_file() and "tunefarm.db" not in path.name and path.suffix != ".log"
        }


def secure(address: str, credentials: grpc.ChannelCredentials) -> grpc.Channel:
    return grpc.secure_channel(address, credentials, options=[*SECURE_OPTIONS, ("grpc.max_send_message_length", -1)])


def called(channel: grpc.Channel, method: str, *requests: Any, token: str = "") -> grpc.StatusCode:
    """How a call ends: with its status, or OK at its first answer. On the wire every RPC is a stream of bytes."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    data = [request if isinstance(request, bytes) else request.SerializeToString() for request in requests]
    call = channel.stream_stream(method)(iter(data or [b""]), timeout=SECONDS, metadata=metadata)
    try:
        next(call, None)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    finally:
        call.cancel()
    return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    home = tmp_path_factory.mktemp("home")
    with coordinator(home, 0, "--tls") as (program, address):
        admin = (home / "data" / "tunefarm" / "authority" / "admin.token").read_text().strip()
        yield Farm(home, address, admin, psutil.Process(program.process.pid))
    # Nobody's secret is in what the coordinator wrote down, nor in its log.
    secrets = {token.secret for token in map(parse_token, [admin]) if token is not None}
    assert not any(secret in program.text() for secret in secrets)
    assert_nothing_left(home)


# ---- roles


@pytest.fixture(scope="module")
def tokens(farm: Farm) -> dict[Role, str]:
    with farm.client() as client:
        return {role: client.access.create_token(role.name.lower(), role.name).token or "" for role in Role}  # type: ignore[arg-type]


@pytest.mark.parametrize("method", RPCS)
def test_each_role_at_each_rpc(farm: Farm, tokens: dict[Role, str], method: str) -> None:
    needed = NEEDED[method]
    with farm.users() as channel:
        nobody = called(channel, method)
        ends = {role: called(channel, method, token=token) for role, token in tokens.items()}
    assert (nobody is grpc.StatusCode.UNAUTHENTICATED) is (needed != OPEN) or method.endswith("/Enrol"), nobody
    for role, end in ends.items():
        if needed == OPEN:
            assert end is not grpc.StatusCode.PERMISSION_DENIED
        else:
            allowed = isinstance(needed, Role) and role >= needed
            assert (end in REFUSED) is not allowed, (role, end)


@pytest.mark.parametrize("method", RPCS)
def test_an_agent_does_what_is_an_agents_and_nothing_else(farm: Farm, agent: Membership, method: str) -> None:
    with secure(agent.address, agent.credentials) as channel:
        end = called(channel, method, token=farm.admin)
    if NEEDED[method] == AGENT:
        assert end not in REFUSED
    elif NEEDED[method] != OPEN:
        assert end is grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture(scope="module")
def agent(farm: Farm) -> Membership:
    return farm.joined("tester")


def test_the_message_names_the_role_that_is_needed(farm: Farm, tokens: dict[Role, str]) -> None:
    with farm.client(tokens[Role.VIEWER]) as client, pytest.raises(Denied, match=r"needs the role admin.*role viewer"):
        client.access.invite()


# ---- bad peers


def test_wrong_tokens(farm: Farm, tmp_path: Path) -> None:
    real = parse_token(farm.admin)
    assert real is not None
    wrong = str(new_token("tft", real.authority))
    with farm.client(wrong) as client, pytest.raises(Denied, match="not this farm's"):
        client.devices()
    other = str(new_token("tft", Authority.open(tmp_path / "other").digest))
    with farm.client(other) as client, pytest.raises(Denied, match="another, and the token was not sent"):
        client.devices()
    with Client(farm.address) as client, pytest.raises(Unreachable, match="TLS answers only with a --token"):
        client.devices()
    with pytest.raises(InvalidInput, match="was all of it copied"):
        Client("192.0.2.1:7700", token=farm.admin[:-1])


def test_an_expired_token_and_a_revoked_one(farm: Farm) -> None:
    with farm.client() as admin:
        short = admin.access.create_token("viewer", "short", seconds=1.0)
        gone = admin.access.create_token("viewer", "gone")
        admin.access.revoke_token(gone.token_id)
    with farm.client(gone.token) as client, pytest.raises(Denied, match="revoked"):
        client.devices()
    time.sleep(1.1)
    with farm.client(short.token) as client, pytest.raises(Denied, match="expired"):
        client.devices()


@pytest.mark.parametrize("case", ["wrong", "expired", "used"])
def test_an_invite_that_is_none(farm: Farm, case: str) -> None:
    with farm.client() as admin:
        real = parse_token(farm.admin)
        assert real is not None
        invite = admin.access.invite(seconds=1.0 if case == "expired" else 60.0).token
        if case == "wrong":
            invite = str(new_token("tfj", real.authority))
        elif case == "used":
            assert tunefarm_agent_join(farm, invite, "used-first").ended(60) == 0
        else:
            time.sleep(1.1)
        before = [enrolled.agent_id for enrolled in admin.access.agents()]
        program = tunefarm_agent_join(farm, invite, f"{case}-second")
        assert program.ended(60) == 2
        assert [enrolled.agent_id for enrolled in admin.access.agents()] == before
    assert "invite" in program.text()
    assert not (farm.home / f"{case}-second" / "membership.json").exists()


def tunefarm_agent_join(farm: Farm, invite: str, name: str) -> Program:
    command = ("tunefarm-agent", "join", farm.address, "--token", invite, "--state-dir", str(farm.home / name))
    return Program(farm.home, name, *command, "--agent-id", name, "--enrol-only")


def test_certificates_that_are_none(farm: Farm, agent: Membership, tmp_path: Path) -> None:
    """One of another authority with an enrolled agent's name, one that is nobody's, none at all."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    other = Authority.open(tmp_path / "other")
    forged = other.sign(agent.agent_id, parse_request(request_pem(key)))
    mine = farm.authority
    for credentials in (
        grpc.ssl_channel_credentials(mine, pem, forged),
        grpc.ssl_channel_credentials(mine, pem, other.server_credentials()[1]),
        grpc.ssl_channel_credentials(mine),
    ):
        with secure(agent.address, credentials) as channel:
            end = called(channel, "/tunefarm.v1.FarmService/Attach", hello(agent.agent_id))
        assert end is grpc.StatusCode.UNAVAILABLE  # TLS ended it


def test_an_agent_can_t_be_the_coordinator(farm: Farm, agent: Membership) -> None:
    """Its certificate is of the same authority; whoever trusts that looks for the coordinator's name."""
    server = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials([(agent.key.encode(), agent.certificate.encode())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        with Client(f"127.0.0.1:{port}", token=farm.admin) as client, pytest.raises(Unreachable):
            client.devices()
    finally:
        server.stop(None)


def hello(agent_id: str) -> farm_pb2.AgentMessage:
    return farm_pb2.AgentMessage(hello=farm_pb2.Hello(protocols=[1], agent_id=agent_id, boot_id="b"))


def test_an_agent_under_another_s_name(agent: Membership) -> None:
    with secure(agent.address, agent.credentials) as channel:
        assert called(channel, "/tunefarm.v1.FarmService/Attach", hello("somebody")) is REFUSED[1]


def test_messages_that_are_too_large(farm: Farm, agent: Membership) -> None:
    huge = b"\x0a" + b"\x80\x80\x80\x09" + bytes(18 << 20)
    with farm.users() as channel, secure(agent.address, agent.credentials) as agents:
        for where, method in (
            (channel, "/tunefarm.v1.AccessService/Enrol"),
            (channel, "/tunefarm.v1.TuningService/UploadModel"),
            (agents, "/tunefarm.v1.FarmService/Attach"),
            (agents, "/tunefarm.v1.FarmService/UploadArtifact"),
        ):
            end = called(where, method, huge, token=farm.admin)
            assert end is grpc.StatusCode.RESOURCE_EXHAUSTED, (method, end)


NAMES = ["../../evil", "/etc/evil", "a/../../evil", "..", "evil\x00", "sha256:../../evil", "..\\evil"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere(farm: Farm, agent: Membership, name: str) -> None:
    """Every name that crosses the wire and could become a file's: refused with a status, nothing written."""
    before = farm.written()
    with farm.client() as admin:
        invite = admin.access.invite().token
    file = tuning_pb2.FileHeader(path=name, size=4)
    header = tuning_pb2.UploadModelRequest(header=tuning_pb2.UploadModelHeader(name=name, files=[file]))
    chunk = tuning_pb2.UploadModelRequest(chunk=tuning_pb2.FileChunk(data=b"evil"))
    enrol = access_pb2.EnrolRequest(
        token=invite, agent_id=name, signing_request=request_pem(ec.generate_private_key(ec.SECP256R1()))
    )
    tuning, access = "/tunefarm.v1.TuningService", "/tunefarm.v1.AccessService"
    spec = tuning_pb2.JobSpec(model_id=name)
    with farm.users() as users, secure(agent.address, agent.credentials) as agents:
        ends = {
            "model": called(users, f"{tuning}/UploadModel", header, chunk, token=farm.admin),
            "get model": called(
                users, f"{tuning}/GetModel", tuning_pb2.GetModelRequest(model_id=name), token=farm.admin
            ),
            "plan": called(users, f"{tuning}/PlanJob", tuning_pb2.PlanJobRequest(spec=spec), token=farm.admin),
            "job": called(users, f"{tuning}/GetJob", tuning_pb2.GetJobRequest(job_id=name), token=farm.admin),
            "package": called(
                users, f"{tuning}/FetchPackage", tuning_pb2.FetchPackageRequest(job_id=name), token=farm.admin
            ),
            "agent": called(users, f"{access}/Enrol", enrol),
            "revoke": called(
                users, f"{access}/RevokeAgent", access_pb2.RevokeAgentRequest(agent_id=name), token=farm.admin
            ),
            "artifact": called(
                agents,
                "/tunefarm.v1.FarmService/FetchArtifacts",
                farm_pb2.FetchArtifactsRequest(artifacts=[farm_pb2.WantedArtifact(digest=name)]),
            ),
            "upload": called(
                agents,
                "/tunefarm.v1.FarmService/UploadArtifact",
                farm_pb2.UploadArtifactRequest(digest=name, data=b"evil"),
            ),
        }
    wanted = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}
    assert {what: end for what, end in ends.items() if end not in wanted} == {}
    assert farm.written() == before
    assert not any(Path(place, "evil").exists() for place in ("/etc", farm.home, farm.data, farm.home.parent))


def test_garbage_on_both_ports(farm: Farm, agent: Membership) -> None:
    before = farm.process.num_fds()
    for address in (farm.address, agent.address):
        port = int(address.rpartition(":")[2])
        for data in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(64)):
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as peer:
                peer.sendall(data)
                with contextlib.suppress(ConnectionError):
                    while peer.recv(4096):
                        pass
    until(lambda: farm.process.num_fds() <= before + 5, 15, "connections are still open")
    with farm.client() as client:
        client.devices()


@pytest.mark.slow
def test_ten_thousand_half_open_connections(farm: Farm) -> None:
    """Dropped at the port's limit or after their five seconds; a user who is connected is served meanwhile, and one who
    comes gets in within seconds."""
    count = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * count:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = int(farm.address.rpartition(":")[2])
    fds, memory = farm.process.num_fds(), farm.process.memory_info().rss
    waits: list[float] = []
    with contextlib.ExitStack() as peers:
        peers.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        client = peers.enter_context(farm.client())
        client.devices()
        for number in range(count):
            peers.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SECONDS))
            if number % 500 == 0:
                began = time.monotonic()
                client.devices()
                waits.append(time.monotonic() - began)
        most = farm.process.num_fds()
        until(lambda: served(farm), 20, "nobody gets in")
        until(lambda: farm.process.num_fds() < fds + 100, 60, lambda: f"{farm.process.num_fds()} descriptors")
        grown = (farm.process.memory_info().rss - memory) / 2**20
    print(f"slowest answer meanwhile {max(waits):.2f} s; {most} descriptors at most; {grown:.0f} MiB kept")
    assert max(waits) < 5.0
    assert most < fds + 5_000
    assert grown < 300


def served(farm: Farm) -> bool:
    """Whether somebody who comes now is served."""
    try:
        with farm.client() as newcomer:
            newcomer.devices()
    except Unreachable:
        return False
    return True


# ---- the way that users take


def test_invited_joined_tuned_revoked(farm: Farm, tmp_path: Path) -> None:
    """From an invite to a tuned model over TLS, by the commands alone; then the agent goes, at once."""
    reach = ("--connect", farm.address, "--token", farm.admin)
    invited = document(tunefarm(farm.home, "farm", "invite", *reach, "--label", "rack=a1", "--json"))
    _, _, address, _, token = invited["command"].split()
    board = tmp_path / "board"
    command = ("tunefarm-agent", "join", address, "--token", token, "--agent-id", "board", "--state-dir", str(board))
    program = Program(farm.home, "board", *command)
    try:
        program.wait_for("attached", 60)
        (device,) = document(tunefarm(farm.home, "devices", *reach, "--json"))["devices"]
        assert (device["agent_id"], device["labels"]) == ("board", {"rack": "a1"})
        assert token not in " ".join(psutil.Process(program.process.pid).cmdline())
        save_tiny_cnn(tmp_path / "tiny.onnx")
        arguments = ("--trials-per-kernel", "2", "--out", str(tmp_path / "out"), "--json")
        done = tunefarm(farm.home, "tune", str(tmp_path / "tiny.onnx"), *reach, *arguments)
        assert done.returncode == 0, done.stderr
        assert document(done)["state"] == "SUCCEEDED"
        revoked = tunefarm(farm.home, "farm", "revoke", "board", *reach, "--reason", "sold")
        assert revoked.returncode == 0, revoked.stderr
        # Well before a session without a sign of life would be given up.
        assert program.ended(20) == 2
        assert "was revoked: sold" in program.text()
    finally:
        program.stop()
    again = Program(farm.home, "again", "tunefarm-agent", "run", "--state-dir", str(board))
    assert again.ended(60) == 2
    assert "was revoked" in again.text()
    listed = document(tunefarm(farm.home, "farm", "agents", *reach, "--json"))["agents"]
    assert next(a for a in listed if a["agent_id"] == "board")["reason"] == "sold"


def test_a_plain_coordinator_says_so(tmp_path: Path) -> None:
    with coordinator(tmp_path) as (_, address):
        invited = tunefarm(tmp_path, "farm", "invite", "--connect", address)
        assert invited.returncode == 2
        assert "--tls" in invited.stderr
        asked = tunefarm(tmp_path, "devices", "--connect", address, "--token", str(new_token("tft", "ab" * 32)))
        assert "does not speak TLS" in asked.stderr
        joining = Program(
            tmp_path, "joining", "tunefarm-agent", "join", address, "--token", str(new_token("tfj", "ab" * 32))
        )
        assert joining.ended(60) == 2
        assert "run --connect" in joining.text()


def test_one_port_is_not_the_other(farm: Farm, agent: Membership) -> None:
    """A token is nothing at the agents' port, where a certificate is asked for before anything is said."""
    ports = {int(address.rpartition(":")[2]) for address in (farm.address, agent.address)}
    assert len(ports) == 2
    with secure(agent.address, grpc.ssl_channel_credentials(farm.authority)) as channel:
        stub = farm_pb2_grpc.FarmServiceStub(channel)
        metadata = (("authorization", f"Bearer {farm.admin}"),)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListDevices(farm_pb2.ListDevicesRequest(), timeout=SECONDS, metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_pages(farm: Farm) -> None:
    with farm.users() as channel:
        stub = access_pb2_grpc.AccessServiceStub(channel)
        metadata = (("authorization", f"Bearer {farm.admin}"),)
        pages, after = [], ""
        for _ in itertools.count():
            request = access_pb2.ListTokensRequest(page_size=1, page_token=after)
            page = stub.ListTokens(request, timeout=SECONDS, metadata=metadata)
            pages.append([token.token_id for token in page.tokens])
            after = page.next_page_token
            if not after:
                break
    assert all(len(page) == 1 for page in pages)
    flat = [token_id for page in pages for token_id in page]
    assert flat == sorted(set(flat))
