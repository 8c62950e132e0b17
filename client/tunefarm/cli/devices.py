"""`tunefarm devices`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunefarm.cli.exits import DONE
from tunefarm.cli.output import print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token
from tunefarm.documents import devices_document

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunefarm.job import Device


def devices(
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """List the devices of the farm, and what they do now."""
    with Reach(connect, token, insecure, data_dir).session(agent=True) as client:
        listed = client.devices()
    if as_json:
        print_document(devices_document(listed))
    elif listed:
        print_rendered(_device_table(listed))
    else:
        print_rendered("no devices: start `tunefarm-agent run --connect HOST:PORT` on a machine that has one")
    return DONE


def _device_table(listed: list[Device]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("device", no_wrap=True, overflow="ellipsis")
    table.add_column("agent", no_wrap=True, overflow="ellipsis")
    table.add_column("state", no_wrap=True)
    table.add_column("ok", justify="right", no_wrap=True)
    table.add_column("failed", justify="right", no_wrap=True)
    table.add_column("now", overflow="ellipsis")
    for device in listed:
        now = device.reason or device.running
        counts = (str(device.measured), str(device.failed))
        table.add_row(device.name or device.device_id, device.agent_id, device.state, *counts, now)
    return table
