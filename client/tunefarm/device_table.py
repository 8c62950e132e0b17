"""The farm's devices as a table that fits: on a narrow terminal it has fewer columns, never broken ones."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tunefarm.formats import kernel_time

if TYPE_CHECKING:
    from rich.table import Table

    from tunefarm.job import Device

# Least width of the column that takes what is left over: what the device does, or why it does nothing.
_NOW_WIDTH = 16
_LONGEST_AGENT = 12


class _Column(NamedTuple):
    """`rank`: the lower, the longer it stays on a terminal that gets narrower."""

    name: str
    rank: int
    cell: Callable[[Device], str]
    right: bool = False


def device_table(devices: Sequence[Device], width: int, now: datetime.datetime | None = None) -> Table:
    """As many columns as `width` characters take; `now` is what "seen" counts from."""
    from rich.table import Table

    moment = now or datetime.datetime.now(datetime.UTC)
    columns = _columns(moment)
    widths = {column: max(len(column.name), *(len(column.cell(device)) for device in devices)) for column in columns}
    columns = _fitting(columns, devices, widths, width)
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column.name, justify="right" if column.right else "left", width=widths[column], no_wrap=True)
    left = width - sum(widths[column] + 1 for column in columns) - 1
    table.add_column("now", max_width=max(1, left), no_wrap=True, overflow="ellipsis")
    for device in devices:
        table.add_row(*(column.cell(device) for column in columns), _now(device))
    return table


def _columns(moment: datetime.datetime) -> list[_Column]:
    return [
        _Column("agent/device", 0, _name),
        _Column("state", 0, lambda device: device.state),
        _Column("class", 6, lambda device: device.device_class.partition(":")[2] or device.device_class),
        _Column("target", 3, _target),
        _Column("trials/s", 1, lambda device: f"{device.trials_per_second:.1f}", right=True),
        _Column("failed", 1, _failed, right=True),
        _Column("seen", 2, lambda device: _ago(device.last_seen, moment), right=True),
        _Column("temp", 4, lambda device: "" if device.temperature is None else f"{device.temperature:.0f}C", True),
        _Column("reference", 5, _reference, right=True),
    ]


def _fitting(
    columns: list[_Column], devices: Sequence[Device], widths: dict[_Column, int], width: int
) -> list[_Column]:
    # One that is empty everywhere says nothing.
    kept = [column for column in columns if any(column.cell(device) for device in devices)]
    while sum(widths[column] + 1 for column in kept) + _NOW_WIDTH > width and max(column.rank for column in kept) > 0:
        kept.remove(max(kept, key=lambda column: column.rank))
    return kept


def _now(device: Device) -> str:
    """Why it does nothing, or what it does; and who else uses it."""
    return "; ".join(text for text in (device.reason, device.running) if text)


def _name(device: Device) -> str:
    """The beginning of a long agent id: enough to name it by."""
    return f"{device.agent_id[:_LONGEST_AGENT]}/{device.device_id}"


def _target(device: Device) -> str:
    try:
        target = json.loads(device.target)
        return f"{target['kind']} {target.get('mcpu') or target.get('arch') or ''}".strip()
    except (ValueError, TypeError, KeyError):
        return device.target[:20]


def _failed(device: Device) -> str:
    share = device.failure_share
    return "" if share is None else f"{share:.0%}"


def _reference(device: Device) -> str:
    return "" if device.reference_seconds is None else kernel_time(device.reference_seconds)


def _ago(moment: datetime.datetime | None, now: datetime.datetime) -> str:
    if moment is None:
        return ""
    gone = max(0.0, (now - moment).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if gone >= size:
            return f"{gone / size:.0f}{unit}"
    return f"{gone:.0f}s"
