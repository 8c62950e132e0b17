"""The agent's configuration, parsed once, at the composition root."""

from dataclasses import dataclass
from pathlib import Path

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
        cores: ids of the cores that measurements run on.
        target: TVM target as JSON; empty: proposed from what the host is.
        labels: told to the coordinator as they are.
        device_name: for people; empty: the CPU's name.
        memory: bytes that a session of candidates may take.
        cache: bytes of artifacts kept on disk.
        session_uid: user and group id that candidates run as; 0: the agent's own, which is no root then.
    """

    address: str
    membership: Membership | None
    insecure: bool
    agent_id: str
    state_dir: Path
    cores: tuple[int, ...]
    target: str
    labels: dict[str, str]
    device_name: str
    memory: int
    cache: int
    session_uid: int = 0

    # Leases that a device holds: it works on one while the next is queued.
    slots: int = 2
    # Pause between contenders of a benchmark (seconds). With 0.05 the pools of the ones before still spin, and
    # whoever comes after them takes three times as long.
    settle: float = 0.3
    # Until the coordinator says how often (seconds).
    heartbeat_interval: float = 5.0
    session_timeout: float = 30.0
    # An answer to the hello, or the stream is given up (seconds).
    welcome_timeout: float = 10.0
    # First and longest pause before the next try to reach the coordinator (seconds).
    first_pause: float = 0.2
    longest_pause: float = 10.0
