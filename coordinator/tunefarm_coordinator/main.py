"""The composition root: the only file that wires the coordinator."""

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import grpc
import platformdirs
import typer
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tunefarm_coordinator import logs, metrics
from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.compute.settings import ComputeSettings
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.intake import Intake
from tunefarm_coordinator.control.library import ModelLibrary
from tunefarm_coordinator.control.planning import Planner
from tunefarm_coordinator.control.registry import JobRegistry
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.errors import InvalidInput, StoreError, TunefarmError
from tunefarm_coordinator.fault_points import Fault, FaultPoints
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.farm import FarmServicer
from tunefarm_coordinator.service.schedule import ScheduleService
from tunefarm_coordinator.service.tuning import TuningServicer
from tunefarm_coordinator.settings import Settings, parse_address
from tunefarm_proto.v1 import farm_pb2, farm_pb2_grpc, schedule_pb2, schedule_pb2_grpc, tuning_pb2, tuning_pb2_grpc

log = logging.getLogger("tunefarm_coordinator")

LARGEST_MESSAGE_BYTES = 16 << 20
GRACE_SECONDS = 2.0
SERVICES = tuple(
    file.services_by_name[name].full_name
    for file, name in (
        (tuning_pb2.DESCRIPTOR, "TuningService"),
        (farm_pb2.DESCRIPTOR, "FarmService"),
        (schedule_pb2.DESCRIPTOR, "ScheduleService"),
    )
)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """The tunefarm coordinator."""


@app.command()
def serve(
    listen: Annotated[
        str, typer.Option(help="HOST:PORT for clients and agents; port 0 takes a free one.")
    ] = "127.0.0.1:7700",
    store: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL of the schedule store. Default: SQLite in the data folder.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for models, artifacts and packages.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster (`auto` inside one); default: a local one.")
    ] = None,
    metrics_at: Annotated[str | None, typer.Option("--metrics", help="HOST:PORT of a Prometheus endpoint.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow plain text off loopback.")] = False,
    searchers: Annotated[int | None, typer.Option(min=1, help="Search processes; default: by cores.")] = None,
    builders: Annotated[int | None, typer.Option(min=1, help="Build processes; default: by cores.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    json_logs: Annotated[bool, typer.Option("--json-logs", help="One JSON object a line.")] = False,
    lifeline_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    leave_interrupted: Annotated[
        bool, typer.Option(help="Jobs left unfinished wait for `tunefarm job resume`; without it they go on at once.")
    ] = False,
    fault_point: Annotated[str | None, typer.Option(hidden=True, envvar="TUNEFARM_FAULT_POINT")] = None,
) -> None:
    """Run the coordinator until it is told to stop."""
    logs.configure(log_level, json_logs)
    try:
        host, port = parse_address(listen, "--listen")
        data = data_dir or Path(platformdirs.user_data_dir("tunefarm"))
        settings = Settings(
            host=host,
            port=port,
            data=data,
            store=store or f"sqlite:///{data / 'tunefarm.db'}",
            insecure=insecure,
            ray_address=ray_address,
            metrics=parse_address(metrics_at, "--metrics") if metrics_at else None,
            lifeline=lifeline_fd,
            ready=ready_fd,
            searchers=searchers,
            builders=builders,
            leave_interrupted=leave_interrupted,
            fault=Fault.parse(fault_point) if fault_point else None,
        )
        settings.check()
        asyncio.run(_serve(settings))
    except TunefarmError as error:
        _tell(ready_fd, {"error": {"kind": type(error).__name__, "message": str(error)}})
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.lifeline is not None:
        # The other end is held by whoever started us, and closes however that process ends.
        loop.add_reader(settings.lifeline, stop.set)
    folders = _folders(settings.data)
    store = await asyncio.to_thread(Store.open, settings.store)
    try:
        await _serve_with(settings, folders, store, stop)
    finally:
        await asyncio.to_thread(store.close)


async def _serve_with(settings: Settings, folders: Folders, store: Store, stop: asyncio.Event) -> None:
    artifacts = ArtifactStore(folders.artifacts)
    compute = ComputeClient(
        ComputeSettings(ray_address=settings.ray_address, searchers=settings.searchers, builders=settings.builders)
    )
    farm = FarmControl(await asyncio.to_thread(store.next_epoch), compute.set_gates)
    library = ModelLibrary(folders, store)
    services = Services(store, compute, farm, artifacts, folders, FaultPoints(settings.fault))
    intake = Intake(services, library)
    registry = JobRegistry(services, intake)
    tuning = TuningServicer(registry, Planner(services, intake), library, folders)
    server, port = await _server(settings, tuning, FarmServicer(farm, artifacts), ScheduleService(store))
    try:
        compute.start()
        farm.start()
        # Whoever calls finds every job there, also those of before a restart.
        interrupted = await registry.recover(leave=settings.leave_interrupted)
        await server.start()
        if settings.metrics is not None:
            metrics.start(*settings.metrics, registry=registry, farm=farm)
        log.info("listening", extra={"address": f"{settings.host}:{port}", "store": settings.store})
        _tell(settings.ready, {"address": f"{settings.host}:{port}", "interrupted": interrupted})
        await stop.wait()
        log.info("stopping")
    finally:
        await registry.stop()
        # First the streams, so that agents hear of it at once; then whatever calls are left.
        await farm.stop()
        await server.stop(GRACE_SECONDS)
        await compute.close()


async def _server(
    settings: Settings, tuning: TuningServicer, farm: FarmServicer, schedules: ScheduleService
) -> tuple[Any, int]:
    """The gRPC server and the port that it got. TLS and authentication have their place here."""
    server = grpc.aio.server(
        interceptors=[ErrorInterceptor()],
        options=[
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
        ],
    )
    tuning_pb2_grpc.add_TuningServiceServicer_to_server(tuning, server)
    farm_pb2_grpc.add_FarmServiceServicer_to_server(farm, server)
    schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(schedules, server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for name in ("", *SERVICES):
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    except RuntimeError as error:
        raise InvalidInput(
            f"can't listen on {settings.host}:{settings.port}: is it taken? Try another --listen"
        ) from error
    return server, port


def _folders(data: Path) -> Folders:
    folders = Folders(data)
    try:
        folders.artifacts.mkdir(parents=True, exist_ok=True)
        folders.uploads.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"the data folder {data} can't be written: {error.strerror}") from error
    return folders


def _tell(ready: int | None, message: dict[str, object]) -> None:
    """One line of JSON to whoever started us."""
    if ready is not None:
        os.write(ready, json.dumps(message).encode() + b"\n")
        os.close(ready)


def run() -> None:
    """The console entry."""
    app(prog_name="tunefarm", args=sys.argv[1:])
