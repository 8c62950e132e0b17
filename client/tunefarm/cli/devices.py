"""`tunefarm devices`, and a device taken out for maintenance and put back: `tunefarm farm drain|resume`."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tunefarm.cli.exits import DONE
from tunefarm.cli.output import console, print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token
from tunefarm.device_table import device_table
from tunefarm.documents import devices_document
from tunefarm.errors import InvalidInput
from tunefarm.printable import printable_value

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunefarm.client import Client
    from tunefarm.job import Device

WATCH_SECONDS = 1.0

Which = Annotated[
    str,
    typer.Argument(metavar="AGENT[/DEVICE]", help="As `tunefarm devices` shows it; the agent alone: all its devices."),
]
Watch = Annotated[bool, typer.Option("--watch", help="Show them anew every second, until Ctrl-C.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Shown in `tunefarm devices` meanwhile.")]


def devices(
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> int:
    """List the devices of the farm, and what they do now."""
    if watch and as_json:
        raise InvalidInput("--watch is for people, --json for scripts: take one")
    with Reach(connect, token, insecure, data_dir).session(agent=True) as client:
        if watch:
            _watch(client)
        elif as_json:
            print_document(devices_document(client.devices()))
        else:
            print_rendered(_shown(client.devices()))
    return DONE


def drain(
    which: Which,
    reason: Reason = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Give a device nothing more, until it is resumed. What it works on ends; what waits for it goes elsewhere."""
    with Reach(connect, token, insecure, data_dir).session(agent=False) as client:
        _show(client.drain_device(*_find(client, which), reason), as_json)
    return DONE


def resume(
    which: Which,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Put a device back after a drain, or before the end of a quarantine."""
    with Reach(connect, token, insecure, data_dir).session(agent=False) as client:
        _show(client.resume_device(*_find(client, which)), as_json)
    return DONE


def _find(client: Client, which: str) -> tuple[str, str]:
    """(agent id, device id or nothing). The beginning of an agent's id will do where it is one agent's.

    Raises InvalidInput: it is the beginning of several.
    """
    agent, _, device = which.partition("/")
    if not agent:
        raise InvalidInput(f"{which!r} names no agent: write AGENT or AGENT/DEVICE as `tunefarm devices` shows it")
    known = {listed.agent_id for listed in client.devices()}
    alike = sorted(name for name in known if name.startswith(agent))
    if agent in known or not alike:
        return agent, device
    if len(alike) > 1:
        raise InvalidInput(f"{agent!r} could be any of the agents {', '.join(alike)}: write more of it")
    return alike[0], device


def _show(listed: list[Device], as_json: bool) -> None:
    if as_json:
        print_document(devices_document(listed))
    else:
        print_rendered(_shown(listed))


def _shown(listed: list[Device]) -> RenderableType:
    if not listed:
        return "no devices: start `tunefarm-agent run --connect HOST:PORT` on a machine that has one"
    return device_table(printable_value(listed), console(stderr=False).width)


def _watch(client: Client) -> None:
    from rich.live import Live

    screen = console(stderr=False)
    with contextlib.suppress(KeyboardInterrupt), Live(console=screen, auto_refresh=False) as live:
        while True:
            live.update(_shown(client.devices()), refresh=True)
            time.sleep(WATCH_SECONDS)
