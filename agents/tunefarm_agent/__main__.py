"""The command line: `tunefarm-agent join HOST:PORT --token ...`, then `tunefarm-agent run`."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

_NEEDED = ("cryptography", "numpy", "platformdirs", "psutil", "structlog", "tvm")

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The tunefarm device agent: measures candidates on this host."
)


@app.callback()
def _agent() -> None:
    """The tunefarm device agent: measures candidates on this host."""


@app.command()
def run(
    connect: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="A coordinator in plain text. Default: the farm that was joined.")
    ] = "",
    insecure: Annotated[bool, typer.Option(help="Allow plain text to a coordinator off this host.")] = False,
    agent_id: Annotated[
        str, typer.Option(help="Name of this agent, unique in the farm. Default: made up once, then kept.")
    ] = "",
    state_dir: Annotated[
        Path | None, typer.Option(help="The agent's own folder. Default: the user's state folder.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Own this one (cpu0, cuda0, ...). Default: all. Repeatable.")
    ] = None,
    cores: Annotated[
        str,
        typer.Option(
            metavar="0,1", help="Cores to measure the CPU on. Default: all; all but one where there are GPUs."
        ),
    ] = "",
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="[ID=]JSON", help="TVM target of a device (cpu0). Default: found out. Repeatable."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="[ID/]K=V", help="Of all devices, or of one. Repeatable.")
    ] = None,
    device_name: Annotated[
        list[str] | None, typer.Option(metavar="[ID=]NAME", help="Name for people, of a device (cpu0). Repeatable.")
    ] = None,
    rpc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=HOST:PORT",
            help="Front a board that runs a plain TVM RPC server with this key. Needs --target KEY=JSON. Whoever "
            "reaches that port controls the board: keep it on a network of its own. Repeatable.",
        ),
    ] = None,
    rpc_tracker: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=HOST:PORT", help="The same for a board that an RPC tracker there has. Repeatable."),
    ] = None,
    memory_limit: Annotated[
        int, typer.Option(min=0, metavar="MIB", help="Memory of a candidate. Default: 3/4 of the host's.")
    ] = 0,
    cache_limit: Annotated[int, typer.Option(min=1, metavar="MIB", help="Artifacts kept on disk.")] = 4096,
    lifeline_fd: Annotated[
        int | None, typer.Option(metavar="FD", help="Inherited pipe; the agent ends when it closes.")
    ] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log lines as JSON.")] = False,
) -> None:
    """Attach to a coordinator and work until stopped."""
    _need_extra()
    # Imported here: without the extra these fail with less helpful words.
    from tunefarm_agent.errors import AgentError, InvalidInput, Refused
    from tunefarm_agent.startup import Options, start

    options = Options(
        connect=connect,
        insecure=insecure,
        agent_id=agent_id,
        state_dir=state_dir,
        cores=cores,
        devices=tuple(device or ()),
        targets=tuple(target or ()),
        labels=tuple(label or ()),
        device_names=tuple(device_name or ()),
        rpc=tuple(rpc or ()),
        rpc_trackers=tuple(rpc_tracker or ()),
        memory_mib=memory_limit,
        cache_mib=cache_limit,
    )
    try:
        start(options, lifeline_fd, json_logs)
    except AgentError as error:
        typer.echo(f"tunefarm-agent: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, InvalidInput | Refused) else 1) from error


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def join(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The coordinator, as its users reach it.")],
    token: Annotated[str, typer.Option(envvar="TUNEFARM_INVITE", help="Of `tunefarm farm invite`; good once.")],
    agent_id: Annotated[
        str, typer.Option(help="Name of this agent, unique in the farm. Default: made up once, then kept.")
    ] = "",
    state_dir: Annotated[
        Path | None, typer.Option(help="The agent's own folder. Default: the user's state folder.")
    ] = None,
    enrol_only: Annotated[bool, typer.Option("--enrol-only", help="Don't run now: `tunefarm-agent run` does.")] = False,
) -> None:
    """Enrol this host at a farm, then run. Takes the options of `run` as well."""
    _need_extra()
    from tunefarm_agent import startup
    from tunefarm_agent.errors import AgentError, InvalidInput, Refused

    if enrol_only and context.args:
        typer.echo(f"tunefarm-agent: with --enrol-only nothing takes {' '.join(context.args)}", err=True)
        raise typer.Exit(2)
    try:
        folder = startup.join(address, token, agent_id, state_dir)
    except AgentError as error:
        typer.echo(f"tunefarm-agent: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, InvalidInput | Refused) else 1) from error
    typer.echo(f"joined the farm at {address}; the papers are in {folder}", err=True)
    if not enrol_only:
        # The token is not among the arguments of what runs on: anybody may read those.
        command = [sys.executable, "-m", "tunefarm_agent", "run", "--state-dir", str(folder), *context.args]
        os.execv(sys.executable, command)


def _need_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        typer.echo(
            f"tunefarm-agent: {', '.join(missing)} not installed; install the agent's extra: "
            "pip install 'tunefarm[agent]'",
            err=True,
        )
        raise typer.Exit(2)


def main() -> None:
    """Entry point of `tunefarm-agent`."""
    app()


if __name__ == "__main__":
    main()
