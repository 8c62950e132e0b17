"""The states of sessions, leases and devices, and every move between them, in one table each."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar


class SessionState(Enum):
    LIVE = "live"  # its stream is open
    AWAY = "away"  # the stream ended; the agent may come back and keep its leases
    LOST = "lost"  # silent for too long; its leases are others' now
    REPLACED = "replaced"  # the same agent attached again


class SessionMove(Enum):
    STREAM_ENDED = "stream ended"
    TIMED_OUT = "timed out"
    ATTACHED_AGAIN = "attached again"
    EXPELLED = "expelled"


class LeaseState(Enum):
    HELD = "held"
    FINISHED = "finished"  # the agent said so
    GIVEN_UP = "given up"  # the agent could not work on it
    LOST = "lost"  # with its session; the agent may come back with it
    EXPIRED = "expired"  # the agent did not keep its own time limit
    WITHDRAWN = "withdrawn"  # nobody wants it any more


class LeaseMove(Enum):
    FINISH = "finish"
    GIVE_UP = "give up"
    LOSE = "lose"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    ADOPT = "adopt"


class Health(Enum):
    GOOD = "good"
    QUARANTINED = "quarantined"
    PROBATION = "probation"  # back from quarantine, one lease at a time until one goes well


class HealthMove(Enum):
    STRIKE_OUT = "strike out"
    RELEASE = "release"
    PROVE = "prove"


SESSION_MOVES: dict[tuple[SessionState, SessionMove], SessionState] = {
    (SessionState.LIVE, SessionMove.STREAM_ENDED): SessionState.AWAY,
    (SessionState.LIVE, SessionMove.TIMED_OUT): SessionState.LOST,
    (SessionState.LIVE, SessionMove.ATTACHED_AGAIN): SessionState.REPLACED,
    (SessionState.AWAY, SessionMove.TIMED_OUT): SessionState.LOST,
    (SessionState.LIVE, SessionMove.EXPELLED): SessionState.LOST,
    (SessionState.AWAY, SessionMove.EXPELLED): SessionState.LOST,
    (SessionState.AWAY, SessionMove.ATTACHED_AGAIN): SessionState.REPLACED,
}

LEASE_MOVES: dict[tuple[LeaseState, LeaseMove], LeaseState] = {
    (LeaseState.HELD, LeaseMove.FINISH): LeaseState.FINISHED,
    (LeaseState.HELD, LeaseMove.GIVE_UP): LeaseState.GIVEN_UP,
    (LeaseState.HELD, LeaseMove.LOSE): LeaseState.LOST,
    (LeaseState.HELD, LeaseMove.EXPIRE): LeaseState.EXPIRED,
    (LeaseState.HELD, LeaseMove.WITHDRAW): LeaseState.WITHDRAWN,
    (LeaseState.HELD, LeaseMove.ADOPT): LeaseState.HELD,  # by the agent's next session
    (LeaseState.LOST, LeaseMove.ADOPT): LeaseState.HELD,  # it came back before another got the work
}

HEALTH_MOVES: dict[tuple[Health, HealthMove], Health] = {
    (Health.GOOD, HealthMove.STRIKE_OUT): Health.QUARANTINED,
    (Health.PROBATION, HealthMove.STRIKE_OUT): Health.QUARANTINED,
    (Health.QUARANTINED, HealthMove.STRIKE_OUT): Health.QUARANTINED,  # a lease that it held when it struck out
    (Health.QUARANTINED, HealthMove.RELEASE): Health.PROBATION,
    (Health.QUARANTINED, HealthMove.PROVE): Health.GOOD,
    (Health.PROBATION, HealthMove.PROVE): Health.GOOD,
    (Health.GOOD, HealthMove.PROVE): Health.GOOD,
}

State = TypeVar("State", bound=Enum)
Move = TypeVar("Move", bound=Enum)


class IllegalMove(Exception):
    """The desk tried a move that no table has: a defect of the desk, never of its input."""


def moved(table: dict[tuple[State, Move], State], state: State, move: Move) -> State:
    """Where `move` leads from `state`. Raises IllegalMove."""
    try:
        return table[state, move]
    except KeyError:
        raise IllegalMove(f"{type(state).__name__}: no move {move.name} from {state.name}") from None


@dataclass(frozen=True)
class FarmPolicy:
    """The desk's constants; times in seconds.

    Attributes:
        session_timeout: silence after which a session is lost.
        return_grace: how long work that an agent may still hold waits for that agent; also how old a lease is before
            a heartbeat that leaves it out counts.
        recovery: how long after its first event a restarted desk waits for jobs to ask again for what agents hold.
        expiry_slack: what a lease gets on top of its own time limit before the desk takes it back.
        retry_delay: wait before work that an agent gave up is granted again.
        leases_per_device: one to work on, the others ready behind it.
        suspicions: losses in the middle of an item that make the item at fault.
        attempts: grants in a row without a single outcome, after which a work's items are lost.
        strikes: losses in a row that quarantine a device.
        losses, losses_window: so many within so long quarantine it as well, whatever it does between them.
        quarantine: first quarantine; doubled each time up to `quarantine_max`.
        hopeless: after so many quarantines in a row, work that only such devices could do is told not to wait.
        reference_samples: times of the reference kernel before it is known what is usual.
        slowed_share: by so much slower than usual around an item, and the item is measured again.
        remeasure_tries: how often one item is measured again; then it is believed, with a note.
        remeasure_share: of a device's last `remeasure_window` measurements, at most so many are made again. So a host
            that is slow for minutes costs a tenth more, and not a standstill.
        drift_share, drift_seconds: by so much slower than usual for so long, and the device rests.
        drift_rest: first rest; doubled until `drift_rests` are over and what is slow now is what is usual.
        probe_limit: seconds for a lease that times the reference kernel alone.
        forget_device_after: how long a device that is gone stays in the list.
    """

    session_timeout: float = 10.0
    return_grace: float = 5.0
    recovery: float = 120.0
    expiry_slack: float = 15.0
    retry_delay: float = 1.0
    leases_per_device: int = 2
    suspicions: int = 2
    attempts: int = 3
    strikes: int = 3
    losses: int = 6
    losses_window: float = 600.0
    quarantine: float = 30.0
    quarantine_max: float = 600.0
    hopeless: int = 3
    reference_samples: int = 8
    slowed_share: float = 0.5
    remeasure_tries: int = 2
    remeasure_share: float = 0.1
    remeasure_window: int = 100
    drift_share: float = 0.4
    drift_seconds: float = 60.0
    drift_rest: float = 15.0
    drift_rests: int = 2
    probe_limit: float = 30.0
    forget_device_after: float = 3600.0
