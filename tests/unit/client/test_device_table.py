"""The table of devices fits the terminal, and keeps what matters most."""

from __future__ import annotations

import datetime
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from tunefarm.device_table import device_table
from tunefarm.job import Device

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
BOARD = Device(
    device_id="cpu0",
    agent_id="0f3ac2b41d5e4e7c8f9a0b1c2d3e4f50",
    name="Cortex-A72",
    fingerprint="sha256:1",
    target=json.dumps({"kind": "llvm", "mcpu": "cortex-a72"}),
    state="QUARANTINED",
    reason="its reference kernel takes 1.6x its usual time; timed again in 15 s",
    running="",
    measured=40,
    failed=1,
    last_seen=NOW - datetime.timedelta(seconds=3),
    device_class="v1:cortex-a72-0f3ac2b41d5e",
    labels={},
    facts={},
    temperature=71.4,
    trials_per_second=2.55,
    reference_seconds=41e-6,
    remeasured=2,
)
IDLE = replace(
    BOARD, agent_id="bench", state="IDLE", reason="", running="measure j/r1", measured=0, failed=0, temperature=None
)


def _lines(width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, markup=False, highlight=False).print(device_table([BOARD, IDLE], width, NOW))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [42, 60, 80, 120, 200])
def test_it_fits_and_says_who_is_in_what_state(width: int) -> None:
    lines = _lines(width)
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert "0f3ac2b41d5e/cpu0" in lines[1]
    assert "QUARANTINED" in lines[1]


def test_a_wide_terminal_shows_everything() -> None:
    text = "\n".join(_lines(200))
    wanted = ("llvm cortex-a72", "2.5", "2%", "3s", "71C", "41.0 us", "cortex-a72-0f3ac2b41d5e", "timed again in 15 s")
    for part in wanted:
        assert part in text


def test_eighty_columns_keep_rate_failures_and_what_runs() -> None:
    header, *rows = _lines(80)
    assert {"agent/device", "state", "trials/s", "failed", "seen", "now"} <= set(header.split())
    assert "measure j/r1" in rows[1]
