"""The gRPC server: which ports it has, who is let in at each, and what a bad peer can cost."""

import resource
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tunefarm_coordinator.access.authority import Authority
from tunefarm_coordinator.access.register import Register
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.service.access import AccessServicer, PlainAccessServicer
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.farm import FarmServicer
from tunefarm_coordinator.service.identity import AccessInterceptor
from tunefarm_coordinator.service.schedule import ScheduleService
from tunefarm_coordinator.service.tuning import TuningServicer
from tunefarm_proto.v1 import (
    access_pb2,
    access_pb2_grpc,
    farm_pb2,
    farm_pb2_grpc,
    schedule_pb2,
    schedule_pb2_grpc,
    tuning_pb2,
    tuning_pb2_grpc,
)

LARGEST_MESSAGE_BYTES = 16 << 20
# A peer that connects and says nothing is dropped after this long.
HANDSHAKE_MS = 5_000
# Of a port: some 45 KB each, so that strangers can't take the memory. A farm of a thousand boards is far from it.
MOST_CONNECTIONS = 4_096
SERVICES = tuple(
    file.services_by_name[name].full_name
    for file, name in (
        (tuning_pb2.DESCRIPTOR, "TuningService"),
        (farm_pb2.DESCRIPTOR, "FarmService"),
        (schedule_pb2.DESCRIPTOR, "ScheduleService"),
        (access_pb2.DESCRIPTOR, "AccessService"),
    )
)
_OPTIONS = [
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
    # Two coordinators on one port would share its callers between them.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Agents ping every 20 s, also while no call is open.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ("grpc.max_allowed_incoming_connections", MOST_CONNECTIONS),
    ("grpc.max_concurrent_streams", 256),
]

Address = tuple[str, int]


class Access(Protocol):
    """Who is let in where."""

    def interceptors(self) -> list[Any]:
        """What a call passes, behind the errors' interceptor."""

    def bind(self, server: Any) -> tuple[int, Any]:
        """Opens the ports; (the users' port, the access servicer). Raises InvalidInput: one is taken."""


@dataclass(frozen=True)
class PlainAccess:
    """One plain port for everybody."""

    address: Address

    def interceptors(self) -> list[Any]:
        return []

    def bind(self, server: Any) -> tuple[int, Any]:
        return _listen(server, self.address, None, "--listen"), PlainAccessServicer()


@dataclass(frozen=True)
class SecureAccess:
    """TLS on two ports: users bring tokens to one, agents certificates to the other.

    Two, because Python's gRPC asks every peer of a port for a certificate or none.
    """

    users: Address
    agents: Address
    authority: Authority
    register: Register

    def interceptors(self) -> list[Any]:
        return [AccessInterceptor(self.register)]

    def bind(self, server: Any) -> tuple[int, Any]:
        own = [self.authority.server_credentials()]
        open_to_users = grpc.ssl_server_credentials(own)
        open_to_agents = grpc.ssl_server_credentials(own, self.authority.pem, require_client_auth=True)
        port = _listen(server, self.users, open_to_users, "--listen")
        agent_port = _listen(server, self.agents, open_to_agents, "--agents")
        return port, AccessServicer(self.register, self.authority, agent_port)


class Server:
    """The server, and the users' port that it got."""

    def __init__(self, server: Any, port: int, health_servicer: Any) -> None:
        self._server = server
        self._health = health_servicer
        self.port = port

    async def tell_health(self, serving: bool) -> None:
        """What gRPC's health service answers from now on."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, status)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Takes no more calls, and gives the ones in progress `grace` seconds."""
        await self._server.stop(grace)


async def open_server(tuning: TuningServicer, farm: FarmServicer, schedules: ScheduleService, access: Access) -> Server:
    """A server with all services, bound and not started. Raises InvalidInput: a port is taken."""
    _raise_descriptor_limit()
    server = grpc.aio.server(interceptors=[ErrorInterceptor(), *access.interceptors()], options=_OPTIONS)
    port, access_servicer = access.bind(server)
    tuning_pb2_grpc.add_TuningServiceServicer_to_server(tuning, server)
    farm_pb2_grpc.add_FarmServiceServicer_to_server(farm, server)
    schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(schedules, server)
    access_pb2_grpc.add_AccessServiceServicer_to_server(access_servicer, server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    opened = Server(server, port, health_servicer)
    await opened.tell_health(True)
    return opened


def _listen(server: Any, address: Address, credentials: Any, option: str) -> int:
    where = f"{address[0]}:{address[1]}"
    try:
        port: int = (
            server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
        )
    except RuntimeError as error:
        raise InvalidInput(f"can't listen on {where}: is it taken? Try another {option}") from error
    return port


def _raise_descriptor_limit() -> None:
    """As many connections as the system lets this process have: each agent holds one, and so does a bad peer."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
