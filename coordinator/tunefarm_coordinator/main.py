"""The composition root: the only file that wires the coordinator."""

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from tunefarm_coordinator import logs, metrics
from tunefarm_coordinator.access.authority import Authority, write_secret
from tunefarm_coordinator.access.register import Register
from tunefarm_coordinator.access.roles import Role
from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.compute.settings import ComputeSettings
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.intake import Intake
from tunefarm_coordinator.control.library import ModelLibrary
from tunefarm_coordinator.control.maintenance import Maintenance
from tunefarm_coordinator.control.planning import Planner
from tunefarm_coordinator.control.references import References
from tunefarm_coordinator.control.registry import JobRegistry
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.engines.cuda.options import CompilerName, CudaOptions
from tunefarm_coordinator.errors import StoreError, TunefarmError
from tunefarm_coordinator.fault_points import Fault, FaultPoints
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.farm import FarmServicer
from tunefarm_coordinator.service.schedule import ScheduleService
from tunefarm_coordinator.service.server import Access, PlainAccess, SecureAccess, open_server
from tunefarm_coordinator.service.tuning import TuningServicer
from tunefarm_coordinator.settings import Settings, parse_address

log = logging.getLogger("tunefarm_coordinator")

GRACE_SECONDS = 2.0

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
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plain text off loopback, and everybody may do everything.")
    ] = False,
    tls: Annotated[bool, typer.Option("--tls", help="TLS, tokens and enrolled agents on loopback too.")] = False,
    agents: Annotated[
        str | None,
        typer.Option(help="HOST:PORT where agents attach over TLS. Default: the host of --listen, the next port."),
    ] = None,
    searchers: Annotated[int | None, typer.Option(min=1, help="Search processes; default: by cores.")] = None,
    builders: Annotated[int | None, typer.Option(min=1, help="Build processes; default: by cores.")] = None,
    cuda_compiler: Annotated[
        CompilerName,
        typer.Option(
            envvar="TUNEFARM_CUDA_COMPILER", help="What CUDA is compiled with; auto: NVRTC where it is, or nvcc."
        ),
    ] = "auto",
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
            tls=tls,
            agents=parse_address(agents, "--agents") if agents else None,
            ray_address=ray_address,
            metrics=parse_address(metrics_at, "--metrics") if metrics_at else None,
            lifeline=lifeline_fd,
            ready=ready_fd,
            searchers=searchers,
            builders=builders,
            cuda_compiler=cuda_compiler,
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
        ComputeSettings(
            ray_address=settings.ray_address,
            searchers=settings.searchers,
            builders=settings.builders,
            cuda=CudaOptions(settings.cuda_compiler, folders.images),
        )
    )
    farm = FarmControl(await asyncio.to_thread(store.next_epoch), compute.set_gates)
    maintenance = Maintenance(farm, store)
    library = ModelLibrary(folders, store)
    services = Services(
        store, compute, farm, artifacts, folders, FaultPoints(settings.fault), References(compute, artifacts)
    )
    intake = Intake(services, library)
    registry = JobRegistry(services, intake)
    tuning = TuningServicer(registry, Planner(services, intake), library, folders)
    access = await _access(settings, folders, store, farm)
    server = await open_server(tuning, FarmServicer(farm, artifacts, maintenance), ScheduleService(store), access)
    try:
        compute.start()
        await maintenance.recover()
        farm.start()
        # Whoever calls finds every job there, also those of before a restart.
        interrupted = await registry.recover(leave=settings.leave_interrupted)
        await server.start()
        address = f"{settings.host}:{server.port}"
        if settings.metrics is not None:
            metrics.start(*settings.metrics, registry=registry, farm=farm)
        log.info("listening", extra={"address": address, "tls": settings.secure, "store": settings.store})
        _tell(settings.ready, {"address": address, "interrupted": interrupted})
        await stop.wait()
        log.info("stopping")
    finally:
        await registry.stop()
        # First the streams, so that agents hear of it at once; then whatever calls are left.
        await farm.stop()
        await maintenance.stop()
        await server.stop(GRACE_SECONDS)
        await compute.close()


async def _access(settings: Settings, folders: Folders, store: Store, farm: FarmControl) -> Access:
    """Who is let in where. On plain text: everybody."""
    address = (settings.host, settings.port)
    if not settings.secure:
        if settings.insecure:
            log.warning("plain text: everybody who reaches this port may do everything", extra={"host": settings.host})
        return PlainAccess(address)
    authority = await asyncio.to_thread(Authority.open, folders.authority)
    register = await asyncio.to_thread(Register, store, authority, farm.expel)
    if not register.tokens():
        token, _ = await register.create_token("first admin", Role.ADMIN, "", None)
        file = folders.authority / "admin.token"
        await asyncio.to_thread(write_secret, file, f"{token}\n".encode())
        log.info("the first admin's token was written", extra={"file": str(file)})
    return SecureAccess(address, settings.agent_address, authority, register)


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
