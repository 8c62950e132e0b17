"""Boards that run a plain TVM RPC server, as the agent that fronts them describes them."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from tunefarm_agent.errors import InvalidInput

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Kinds of target whose code runs on the board's CPU; every other kind is its device's name as well.
_ON_CPU = ("llvm", "c")


@dataclass(frozen=True)
class Board:
    """`key`: names the board here and at its server or tracker; `address`: HOST:PORT of the one or the other."""

    key: str
    address: str
    tracker: bool


def parse_board(text: str, tracker: bool) -> Board:
    """The board of KEY=HOST:PORT. Raises InvalidInput."""
    option = "--rpc-tracker" if tracker else "--rpc"
    key, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInput(f"{option} takes KEY=HOST:PORT, not {text!r}")
    if _KEY.fullmatch(key) is None:
        raise InvalidInput(f"{option}: a key has 1 to 64 letters, digits, '.', '_' and '-', not {key!r}")
    return Board(key, address, tracker)


def device_kind(target: str) -> str:
    """The kind of device, as TVM names it, that code for this target (JSON) runs on."""
    kind = str(json.loads(target)["kind"])
    return "cpu" if kind in _ON_CPU else kind


def board_facts(board: Board, target: str, gateway: str) -> dict[str, str]:
    """What can be known of a board: what it was said to be. `gateway`: machine id of the agent's host.

    Boards with the same target are alike until calibration says otherwise.
    """
    told: dict[str, Any] = json.loads(target)
    facts = {
        "architecture": str(told.get("mtriple", "")).partition("-")[0],
        "cpu": str(told.get("mcpu", "")),
        "features": " ".join(sorted(map(str, told.get("mattr", [])))),
        "cores": str(told.get("num-cores", "")),
        "gpu": " ".join(filter(None, (_gpu(told), str(told.get("model", ""))))),
        "machine": hashlib.sha256(f"tunefarm{gateway}{board.key}".encode()).hexdigest()[:16],
    }
    return {name: value for name, value in facts.items() if value}


def _gpu(told: dict[str, Any]) -> str:
    return "" if told["kind"] in _ON_CPU else f"{told['kind']} {told.get('arch', '')}".strip()
