"""What the desk remembers: of sessions, devices, pieces of work, and every lease of them.

Records point at each other, so two are equal only if they are the same one.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tunefarm_coordinator.farm.calibration import ReferenceClock
from tunefarm_coordinator.farm.health import DeviceHealth
from tunefarm_coordinator.farm.messages import FarmDevice, LeaseRef, Reference, Sharing, Work
from tunefarm_coordinator.farm.placement import Requirement
from tunefarm_coordinator.farm.states import Health, LeaseState, SessionState

DeviceKey = tuple[str, str]  # agent id, device id
# Window over which outcomes a second are averaged.
RATE_SECONDS = 30.0


@dataclass(eq=False)
class SessionRecord:
    """One connected period of an agent. `seen`: when it was last heard of; `beat`: its last heartbeat; `devices`: that
    its hello named; `held_on`: the device that each lease of the hello is of, as far as it said."""

    session: str
    agent_id: str
    boot_id: str
    seen: float
    state: SessionState = SessionState.LIVE
    beat: float | None = None
    devices: "list[DeviceRecord]" = field(default_factory=list)
    held_on: Mapping[LeaseRef, str] = field(default_factory=dict)


@dataclass(eq=False)
class WorkRecord:
    """A piece of work and how far it is.

    Attributes:
        sequence: its place in its job's order.
        settled: items that ended, by a durable outcome or by being lost.
        arriving: outcomes of an item that are delivered and not yet durable.
        durable: (attempt, index) of outcomes that are safe.
        suspicions: losses in the middle of an item.
        remeasured: outcomes of an item that were not believed.
        probe: the desk's own, to time the reference kernel; it ends with its lease.
        grants: leases given out; spent: those in a row that ended without an outcome.
        last_loss: why its last lease ended badly, for people.
        avoid: devices that lost it or gave it up; others go first.
    """

    work: Work
    requirement: Requirement
    sequence: int
    grants: int = 0
    spent: int = 0
    last_loss: str = ""
    current: "LeaseRecord | None" = None
    leases: "dict[int, LeaseRecord]" = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    arriving: Counter[int] = field(default_factory=Counter)
    durable: set[tuple[int, int]] = field(default_factory=set)
    suspicions: Counter[int] = field(default_factory=Counter)
    remeasured: Counter[int] = field(default_factory=Counter)
    avoid: set[DeviceKey] = field(default_factory=set)
    probe: bool = False

    def missing(self) -> list[int]:
        """Wanted items that have no outcome, not even one on its way to the disk."""
        return [i for i in self.work.wanted if i not in self.settled and not self.arriving[i]]

    @property
    def complete(self) -> bool:
        return self.settled.issuperset(self.work.wanted)


@dataclass(eq=False)
class LeaseRecord:
    """One grant of a piece of work to one device.

    Attributes:
        device: the device as it was when the lease was given.
        indices: the items that the lease is for.
        boot_id: of the process that has the lease; empty: not known.
        started_at: when the device could start on it; None while others are before it.
        waited: seconds since then in which its clock stood.
        heard: items that the agent spoke of; returned: those of them without an outcome; rejected: those whose outcome
            is not believed.
        orphaned: the process that worked on it is gone, so nobody goes on with it.
        suspect: the item suspected when the lease was lost.
        spent: it counts among its work's `spent`.
        share, charged: the device class that its time counts for, and the seconds that were charged when it was given.
    """

    ref: LeaseRef
    record: WorkRecord
    holder: "DeviceRecord"
    device: FarmDevice
    session: str
    indices: tuple[int, ...]
    granted_at: float
    boot_id: str = ""
    state: LeaseState = LeaseState.HELD
    started_at: float | None = None
    waited: float = 0.0
    heard: set[int] = field(default_factory=set)
    returned: set[int] = field(default_factory=set)
    rejected: set[int] = field(default_factory=set)
    orphaned: bool = False
    suspect: int | None = None
    spent: bool = False
    share: str = ""
    charged: float = 0.0

    @property
    def same_process(self) -> bool:
        """Whether the agent's present process is the one that has the lease, as far as is known."""
        return self.boot_id in ("", self.holder.boot_id)

    def unfinished(self) -> list[int]:
        """Its items that still miss an outcome, in the order of work."""
        missing = set(self.record.missing())
        return [index for index in self.indices if index in missing]


@dataclass(eq=False)
class DeviceRecord:
    """A device, over all sessions of its agent. `session`: the present one, live or away; None: gone.

    Attributes:
        slots: leases that the agent asked for and did not get yet.
        leases: held now, in the order that the agent works in.
        turn: when it was last given work, to take turns.
        clock: its reference times; reference: the kernel that it was last given, to time alone.
        draining: why it gets nothing more; None: it gets work.
        remeasured: outcomes that were not believed; came: when its newest outcomes came.
        temperature: degrees Celsius, where its agent can read it.
        sharing: who else uses it; busy_since: since when they work on it; shared_for_good: that is how it is now.
    """

    agent_id: str
    device: FarmDevice
    health: DeviceHealth
    clock: ReferenceClock
    session: str | None = None
    boot_id: str = ""
    slots: int = 0
    leases: list[LeaseRecord] = field(default_factory=list)
    turn: int = 0
    measured: int = 0
    failed: int = 0
    remeasured: int = 0
    seen: float = 0.0
    draining: str | None = None
    reference: Reference | None = None
    temperature: float | None = None
    sharing: Sharing | None = None
    busy_since: float | None = None
    shared_for_good: bool = False
    came: deque[float] = field(default_factory=deque)

    @property
    def key(self) -> DeviceKey:
        return self.agent_id, self.device.device_id

    def free(self) -> int:
        """How many more leases it may be given now."""
        if self.draining is not None or self.wants_probe:
            return 0
        return min(self.slots, self.health.room() - len(self.leases))

    @property
    def wants_probe(self) -> bool:
        """Whether it shows that it is well with a reference kernel, rather than with a user's work."""
        return self.health.state is Health.PROBATION and self.reference is not None

    def outcome_came(self, now: float, failed: bool) -> None:
        """Count an outcome."""
        self.measured += 1
        self.failed += failed
        self.came.append(now)
        while self.came[0] < now - RATE_SECONDS:
            self.came.popleft()

    def used_by_others(self, sharing: Sharing | None, now: float) -> None:
        """Who else uses it now."""
        self.sharing = sharing
        if sharing is None or not sharing.busy:
            self.busy_since, self.shared_for_good = None, False
        elif self.busy_since is None:
            self.busy_since = now

    def rate(self, now: float) -> float:
        """Outcomes a second, lately."""
        return sum(at >= now - RATE_SECONDS for at in self.came) / RATE_SECONDS

    def working_on(self) -> LeaseRecord | None:
        """The lease that the device works on: the first one with something left to do."""
        return next((lease for lease in self.leases if lease.unfinished()), None)

    def start_next(self, now: float) -> None:
        """Start the clock of the lease that the device works on, if it did not run yet."""
        lease = self.working_on()
        if lease is not None and lease.started_at is None:
            lease.started_at = now
