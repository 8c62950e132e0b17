"""From what was typed to settings, and off."""

import asyncio
import json
import os
import re
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import psutil

from tunefarm_agent import agent, credentials, logs
from tunefarm_agent.boards import Board, parse_board
from tunefarm_agent.channel import host_of
from tunefarm_agent.confinement import unprivileged_uid
from tunefarm_agent.errors import InvalidInput
from tunefarm_agent.settings import Settings

_MIB = 1 << 20
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_AGENT_ID = re.compile(_NAME)
_CPU = "cpu0"


@dataclass(frozen=True)
class Options:
    """The command line's values, as typed; empty or 0 where nothing was."""

    connect: str
    insecure: bool = False
    agent_id: str = ""
    state_dir: Path | None = None
    cores: str = ""
    devices: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    device_names: tuple[str, ...] = ()
    rpc: tuple[str, ...] = ()
    rpc_trackers: tuple[str, ...] = ()
    memory_mib: int = 0
    cache_mib: int = 4096


def start(options: Options, lifeline: int | None, json_logs: bool) -> None:
    """Run the agent to its end. Raises AgentError."""
    logs.configure(json_logs)
    settings = parse(options)
    asyncio.run(agent.run(settings, lifeline))


def parse(options: Options) -> Settings:
    """Settings, checked. Makes the state folder. Raises InvalidInput."""
    if options.connect:
        host_of(options.connect)
    cores, labels, targets = _cores(options.cores), _labels(options.labels), dict(map(_target, options.targets))
    boards = _boards(options)
    state_dir = _state_dir(options.state_dir)
    membership = None if options.connect else _membership(state_dir)
    if membership is not None:
        labels[""] = {**membership.labels, **labels.get("", {})}
    return Settings(
        address=options.connect if membership is None else membership.address,
        membership=membership,
        insecure=options.insecure,
        agent_id=_agent_id(options.agent_id, state_dir) if membership is None else membership.agent_id,
        state_dir=state_dir,
        cores=cores,
        memory=options.memory_mib * _MIB or psutil.virtual_memory().total * 3 // 4,
        cache=options.cache_mib * _MIB,
        session_uid=unprivileged_uid(state_dir),
        devices=options.devices,
        boards=boards,
        targets=targets,
        names=dict(map(_name, options.device_names)),
        labels=labels.pop("", {}),
        device_labels=labels,
    )


def join(address: str, token: str, agent_id: str, state_dir: Path | None) -> Path:
    """Enrol this host at the farm; the state folder that keeps its papers. Raises AgentError."""
    host = host_of(address, "join")
    folder = _state_dir(state_dir)
    credentials.join(address, host, token, _agent_id(agent_id, folder), folder)
    return folder


def _membership(state_dir: Path) -> credentials.Membership:
    membership = credentials.load(state_dir)
    if membership is None:
        raise InvalidInput(
            f"{state_dir} never joined a farm: paste the command of `tunefarm farm invite`, or name a coordinator on "
            "loopback with --connect HOST:PORT"
        )
    return membership


def _target(text: str) -> tuple[str, str]:
    """(device, JSON) of JSON alone, which is the CPU's, or DEVICE=JSON."""
    given = re.fullmatch(rf"({_NAME})=(.*)", text, re.DOTALL)
    device, written = (given[1], given[2]) if given else (_CPU, text)
    try:
        target = json.loads(written)
    except ValueError as error:
        raise InvalidInput(f"--target is not JSON: {error}") from error
    if not isinstance(target, dict) or not isinstance(target.get("kind"), str):
        raise InvalidInput('--target is no TVM target: it needs a "kind", such as {"kind": "llvm"}')
    return device, written


def _name(text: str) -> tuple[str, str]:
    """(device, name) of a name alone, which is the CPU's, or DEVICE=NAME."""
    given = re.fullmatch(rf"({_NAME})=(.+)", text)
    return (given[1], given[2]) if given else (_CPU, text)


def _boards(options: Options) -> tuple[Board, ...]:
    boards = [parse_board(text, False) for text in options.rpc]
    boards += [parse_board(text, True) for text in options.rpc_trackers]
    twice = [key for key, count in Counter(board.key for board in boards).items() if count > 1]
    if twice:
        raise InvalidInput(f"--rpc: there are several boards of the key {', '.join(twice)}: each needs its own")
    return tuple(boards)


def _cores(text: str) -> tuple[int, ...]:
    """Core ids of "0,2-3"."""
    if not text:
        return ()
    cores: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None:
            raise InvalidInput(f"--cores takes ids such as 0,1 or 0-3, not {text!r}")
        cores.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(cores))


def _labels(pairs: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Labels by device, of K=V and DEVICE/K=V; those for every device under ""."""
    labels: dict[str, dict[str, str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        device, _, key = name.rpartition("/")
        if not key or not equals:
            raise InvalidInput(f"--label takes K=V or DEVICE/K=V, not {pair!r}")
        labels.setdefault(device, {})[key] = value
    return labels


def _state_dir(given: Path | None) -> Path:
    folder = given or Path(platformdirs.user_state_dir("tunefarm")) / "agent"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"can't use the state folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(f"can't write to the state folder {folder}: choose another with --state-dir")
    return folder.resolve()


def _agent_id(given: str, state_dir: Path) -> str:
    """The id that was given, or the one that this state folder has from its first start on."""
    if given:
        if _AGENT_ID.fullmatch(given) is None:
            raise InvalidInput("--agent-id takes 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first")
        return given
    kept = state_dir / "agent_id"
    if not kept.exists():
        draft = kept.with_suffix(".draft")
        draft.write_text(uuid.uuid4().hex)
        draft.replace(kept)
    return kept.read_text().strip()
