"""The agent's configuration, parsed once, at the composition root."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tunefarm_agent.boards import Board
from tunefarm_agent.credentials import Membership


@dataclass(frozen=True)
class Settings:
    """How this agent runs.

    Attributes:
        address: the coordinator, HOST:PORT.
        membership: of a farm that this agent joined; None: it attaches in plain text.
        insecure: plain text is allowed off loopback.
        agent_id: stays the same over restarts.
        state_dir: the agent's own folder, absolute; one agent at a time.
        cores: ids of the cores that the CPU's measurements run on; empty: all, but for one if there are GPUs.
        memory: bytes that a session of candidates may take.
        cache: bytes of artifacts kept on disk.
        session_uid: user and group id that candidates run as; 0: the agent's own, which is no root then.
        devices: ids of those to own; empty: all that there are.
        boards: fronted by this agent.
        targets: TVM targets as JSON, by device; where there is none: proposed from what the device is.
        names: for people, by device; where there is none: what the device calls itself.
        labels: of every device, told to the coordinator as they are.
        device_labels: further ones, by device.
    """

    address: str
    membership: Membership | None
    insecure: bool
    agent_id: str
    state_dir: Path
    cores: tuple[int, ...]
    memory: int
    cache: int
    session_uid: int = 0
    devices: tuple[str, ...] = ()
    boards: tuple[Board, ...] = ()
    targets: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    device_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    # Leases that a device holds: it works on one while the next is queued.
    slots: int = 2
    # Until the coordinator says how often (seconds).
    heartbeat_interval: float = 5.0
    session_timeout: float = 30.0
    # An answer to the hello, or the stream is given up (seconds).
    welcome_timeout: float = 10.0
    # First and longest pause before the next try to reach the coordinator (seconds).
    first_pause: float = 0.2
    longest_pause: float = 10.0
