"""The composition root: from what was typed to settings, and off. What is served is put together in `wiring`."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from tunefarm_coordinator import logs
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.compute.settings import ComputeSettings
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.engines.cuda.options import CompilerName, CudaOptions
from tunefarm_coordinator.errors import StoreError, TunefarmError
from tunefarm_coordinator.fault_points import Fault
from tunefarm_coordinator.settings import Settings, parse_address, tell

Serve = Callable[[Settings, Folders, ComputeClient, asyncio.Event], Awaitable[None]]

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
        tell(ready_fd, {"error": {"kind": type(error).__name__, "message": str(error)}})
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
    compute = ComputeClient(
        ComputeSettings(
            ray_address=settings.ray_address,
            searchers=settings.searchers,
            builders=settings.builders,
            cuda=CudaOptions(settings.cuda_compiler, folders.images),
        )
    )
    # It takes seconds to come up; the rest of this program, which takes one to load, comes up beside it.
    compute.start()
    try:
        serve_jobs = await asyncio.to_thread(_load)
        await serve_jobs(settings, folders, compute, stop)
    finally:
        await compute.close()


def _load() -> Serve:
    from tunefarm_coordinator.wiring import serve_jobs

    return serve_jobs


def _folders(data: Path) -> Folders:
    folders = Folders(data)
    try:
        folders.artifacts.mkdir(parents=True, exist_ok=True)
        folders.uploads.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"the data folder {data} can't be written: {error.strerror}") from error
    return folders


def run() -> None:
    """The console entry."""
    app(prog_name="tunefarm", args=sys.argv[1:])
