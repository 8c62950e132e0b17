"""What the farm desk is told (events) and what it wants done (instructions). Plain data, no wire types.

`now` and every time here are seconds of one monotonic clock of the caller's choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class WorkKind(Enum):
    MEASURE = "measure"
    COMPARE = "compare"
    VERIFY = "verify"
    CALIBRATE = "calibrate"
    BENCHMARK = "benchmark"


class LossKind(Enum):
    """Why an item ended without an outcome. RUN_ERROR is charged and never tried again; DEVICE_LOST is refunded."""

    RUN_ERROR = "RUN_ERROR"
    DEVICE_LOST = "DEVICE_LOST"


class OutcomeKind(Enum):
    """What an agent said of an item. The last two say nothing of the candidate: the item is tried again."""

    RESULT = "result"
    FAILED = "failed"
    DEVICE_LOST = "device lost"
    CANCELLED = "cancelled"


class EndReason(Enum):
    REPLACED = "replaced"
    SILENT = "silent"
    OUTCOME_REFUSED = "outcome refused"
    EXPELLED = "expelled"


@dataclass(frozen=True)
class LeaseRef:
    """One grant of a piece of work. `lease_id` is the work's id; `attempt` tells grants of it apart."""

    lease_id: str
    attempt: int


@dataclass(frozen=True)
class Reference:
    """A target's reference kernel.

    Attributes:
        key: names the very code, so that only times of the same are compared.
        payload: the caller's own; the payload of a piece of work that times the kernel alone.
    """

    key: str
    payload: object = None


@dataclass(frozen=True)
class Calibration:
    """The reference kernel around an outcome: seconds of one call; `spread` of its samples, relative."""

    seconds: float
    spread: float = 0.0


@dataclass(frozen=True)
class FarmDevice:
    """A device as its agent describes it. `target` is TVM's JSON; `device_class` is derived, never sent."""

    device_id: str
    fingerprint: str
    target: str
    name: str = ""
    device_class: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    runs_onnxruntime: bool = False


@dataclass(frozen=True)
class Work:
    """A piece of work: `item_count` items, one outcome each.

    Attributes:
        target: TVM's JSON of what the code was compiled for.
        priority: greater goes first, over all jobs.
        time_limit: seconds for the whole lease, from the start of work on it.
        fetch_limit: seconds for fetching what the lease needs, before that.
        fingerprint: only the device with this fingerprint, if set.
        device_class: only devices of this class, if set.
        indices: items still wanted, in the order of work; empty: all of them.
        reference: timed around every item; None: items are believed as they come.
        suspicions: by index, how often a device was lost over an item before this coordinator's start.
        payload: the caller's own; handed back with every grant.
    """

    work_id: str
    job_id: str
    target: str
    item_count: int
    kind: WorkKind
    time_limit: float
    priority: int = 0
    fingerprint: str | None = None
    device_class: str | None = None
    indices: tuple[int, ...] = ()
    payload: object = None
    fetch_limit: float = 120.0
    reference: Reference | None = None
    suspicions: Mapping[int, int] = field(default_factory=dict)

    @property
    def wanted(self) -> tuple[int, ...]:
        return self.indices or tuple(range(self.item_count))


# ---- events


@dataclass(frozen=True)
class Attached:
    """An agent's hello. `leases`: those that it works on, or still holds outcomes of; `held_on`: the device that each
    of them is of, as far as the agent says."""

    session: str
    agent_id: str
    boot_id: str
    devices: tuple[FarmDevice, ...]
    leases: tuple[LeaseRef, ...] = ()
    held_on: Mapping[LeaseRef, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Detached:
    """The session's stream ended, for whatever reason."""

    session: str


@dataclass(frozen=True)
class Expelled:
    """The agent may take no more part: whatever it holds is others' from now on."""

    agent_id: str
    reason: str


@dataclass(frozen=True)
class Requested:
    """The device has room for `slots` more leases. Replaces its earlier request."""

    session: str
    device_id: str
    slots: int


@dataclass(frozen=True)
class Sharing:
    """Others use a device as well. `by`: who, for people; `busy`: they work on it now."""

    by: str
    busy: bool = False


@dataclass(frozen=True)
class Heartbeat:
    """`waiting`: leases whose clock stands; by device id, `temperatures` in degrees Celsius, and who else uses it."""

    session: str
    leases: tuple[LeaseRef, ...]
    waiting: frozenset[LeaseRef] = frozenset()
    temperatures: Mapping[str, float] = field(default_factory=dict)
    shared: Mapping[str, Sharing] = field(default_factory=dict)


@dataclass(frozen=True)
class Submitted:
    """New work. `resumed`: a returning agent may hold it, so it waits a little for one (FarmPolicy.return_grace)."""

    work: Work
    resumed: bool = False


@dataclass(frozen=True)
class Withdrawn:
    """Forget these pieces of work and, with `job_id`, everything of that job."""

    work_ids: tuple[str, ...] = ()
    job_id: str | None = None
    reason: str = "withdrawn"


@dataclass(frozen=True)
class OutcomeArrived:
    """`report` is the caller's own; handed back in Deliver. `disturbed`: others worked on the device meanwhile.
    `device_id`: the device that it is of; empty where the agent does not say."""

    session: str
    lease: LeaseRef
    index: int
    kind: OutcomeKind
    report: object = None
    calibration: Calibration | None = None
    disturbed: bool = False
    device_id: str = ""


@dataclass(frozen=True)
class OutcomeDurable:
    """A delivered outcome is safe on disk."""

    lease: LeaseRef
    index: int


@dataclass(frozen=True)
class OutcomeRefused:
    """A delivered outcome could not be made durable; its agent has to keep it and send it again."""

    lease: LeaseRef
    index: int
    message: str


@dataclass(frozen=True)
class LeaseFinished:
    """The agent is done with the lease; with `failure` it gave the lease up, `device_failed`: because the device itself
    can't do its work."""

    session: str
    lease: LeaseRef
    failure: str | None = None
    device_failed: bool = False


@dataclass(frozen=True)
class Drained:
    """These devices get nothing more until they are resumed, whether they are here or not."""

    devices: tuple[tuple[str, str], ...]
    reason: str


@dataclass(frozen=True)
class Resumed:
    """An end to the drain or quarantine of these devices; what their reference kernel usually takes is learnt anew."""

    devices: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Classified:
    """Device classes were derived anew; by fingerprint."""

    classes: Mapping[str, str]


@dataclass(frozen=True)
class Paused:
    """While `paused`, nothing new is given out; what was goes on."""

    paused: bool


@dataclass(frozen=True)
class Tick:
    """Time passed."""


Event = (
    Attached
    | Detached
    | Expelled
    | Requested
    | Heartbeat
    | Submitted
    | Withdrawn
    | OutcomeArrived
    | OutcomeDurable
    | OutcomeRefused
    | LeaseFinished
    | Drained
    | Resumed
    | Classified
    | Paused
    | Tick
)


# ---- instructions


@dataclass(frozen=True)
class Grant:
    session: str
    device_id: str
    lease: LeaseRef
    indices: tuple[int, ...]
    work: Work


@dataclass(frozen=True)
class Cancel:
    """Stop working on the lease. The agent still delivers outcomes that it has."""

    session: str
    lease: LeaseRef
    reason: str


@dataclass(frozen=True)
class Forget:
    """Stop, and keep nothing of these leases: nobody wants their outcomes. Comes with the answer to Attached."""

    session: str
    leases: tuple[LeaseRef, ...]


@dataclass(frozen=True)
class Deliver:
    """Hand an outcome to the job side, which answers with OutcomeDurable or OutcomeRefused.

    `late`: the item already has an outcome, or this one is not from the work's newest grant. The job side charges an
    item once, on whatever ends it first, and keeps the rest as measurements. `remeasured`: outcomes of the item that
    were not believed before. `slowed`: how many times its usual time the reference kernel took around this one, where
    that is a lot and it is believed all the same.
    """

    work_id: str
    lease: LeaseRef
    index: int
    device: FarmDevice
    agent_id: str
    late: bool
    report: object
    remeasured: int = 0
    slowed: float | None = None


@dataclass(frozen=True)
class Acknowledge:
    """The agent may let go of the outcome. `dropped` says why it was recorded nowhere; empty: it is durable."""

    session: str
    lease: LeaseRef
    index: int
    dropped: str = ""


@dataclass(frozen=True)
class ItemLost:
    """The item ends here, without an outcome."""

    work_id: str
    index: int
    kind: LossKind
    message: str


@dataclass(frozen=True)
class Suspected:
    """How often a device was lost over an item that is tried again, to be kept; less than before where a device that
    seemed lost came back. Once more than is allowed, and the item is at fault."""

    work_id: str
    index: int
    times: int


@dataclass(frozen=True)
class Unserved:
    """Every device that could do this work failed, rested and failed again; said anew until it is withdrawn."""

    work_id: str
    reason: str


@dataclass(frozen=True)
class Calibrated:
    """What the reference kernel usually takes on the device with this fingerprint, seconds of one call."""

    fingerprint: str
    reference: str
    seconds: float


@dataclass(frozen=True)
class EndSession:
    session: str
    reason: EndReason
    message: str


Instruction = (
    Grant | Cancel | Forget | Deliver | Acknowledge | ItemLost | Suspected | Unserved | Calibrated | EndSession
)
