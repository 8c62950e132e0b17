"""Whatever order things happen in: every item ends, once; no work is two live sessions' at once; all of it ends.

The machine plays the rest of the farm: agents that crash, lose their stream, come back, and resend; a disk that takes
outcomes or refuses them; devices that are slow now and then, or drain; a coordinator that is killed and starts again
from its journal.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.farm.farm_scenes import device, work
from tunefarm_coordinator.farm.desk import FarmDesk
from tunefarm_coordinator.farm.messages import (
    Acknowledge,
    Attached,
    Calibration,
    Cancel,
    Deliver,
    Detached,
    Drained,
    EndSession,
    Event,
    FarmDevice,
    Forget,
    Grant,
    Heartbeat,
    Instruction,
    ItemLost,
    LeaseFinished,
    LeaseRef,
    LossKind,
    OutcomeArrived,
    OutcomeDurable,
    OutcomeKind,
    OutcomeRefused,
    Reference,
    Requested,
    Resumed,
    Sharing,
    Submitted,
    Suspected,
    Tick,
    Work,
    WorkKind,
)

AGENTS = ("a", "b")
REFERENCE = Reference("kernel", "time it")
# Half of them come with a reference kernel.
WORKS = tuple(
    work(f"w{i}", items=1 + i % 3, job_id=f"job{i % 2}", reference=REFERENCE if i // 2 else None) for i in range(4)
)


@dataclass
class Agent:
    """An agent's memory: its leases in order of work, and outcomes without an acknowledgement."""

    name: str
    devices: tuple[FarmDevice, ...]
    boot: int = 0
    session: str | None = None
    inbox: list[Instruction] = field(default_factory=list)
    leases: dict[LeaseRef, list[int]] = field(default_factory=dict)
    unacknowledged: set[tuple[LeaseRef, int]] = field(default_factory=set)

    def held(self) -> tuple[LeaseRef, ...]:
        return tuple(dict.fromkeys([*self.leases, *(ref for ref, _ in sorted(self.unacknowledged, key=str))]))


class Farm(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.epoch = 0
        self.sessions = 0
        self.agents = {
            "a": Agent("a", (device("cpu0"), device("cpu1"))),
            "b": Agent("b", (device("cpu2"),)),
        }
        self.journal: dict[str, set[int]] = {each.work_id: set() for each in WORKS}
        self.ends: Counter[tuple[int, str, int]] = Counter()
        self.forbidden: set[tuple[str, int]] = set()
        self.suspicions: dict[str, dict[int, int]] = {each.work_id: {} for each in WORKS}
        self.draining: set[tuple[str, str]] = set()
        self.undurable: list[Deliver] = []
        self.holders: dict[str, tuple[str, LeaseRef]] = {}
        self.submitted: set[str] = set()
        self.recovering: list[Work] = []
        self.desk = FarmDesk(self.epoch)

    # ---- the machinery

    def tell(self, event: Event) -> None:
        for instruction in self.desk.handle(event, self.now):
            self.obey(instruction)

    def obey(self, instruction: Instruction) -> None:
        match instruction:
            case Grant():
                self.check_grant(instruction)
                self.send(instruction.session, instruction)
            case Cancel():
                if self.holders.get(instruction.lease.lease_id) == (instruction.session, instruction.lease):
                    del self.holders[instruction.lease.lease_id]
                self.send(instruction.session, instruction)
            case Forget() | Acknowledge():
                self.send(instruction.session, instruction)
            case Suspected(work_id=work_id, index=index, times=times):
                assert times < self.desk.policy.suspicions
                self.suspicions[work_id][index] = times
            case Deliver():
                assert not instruction.work_id.startswith("probe/"), "a probe is nobody's"
                self.undurable.append(instruction)
            case ItemLost(work_id=work_id, index=index):
                assert index not in self.journal[work_id], "an item that ended was lost"
                self.end_item(work_id, index)
                if instruction.kind is LossKind.RUN_ERROR:
                    self.forbidden.add((work_id, index))
            case EndSession(session=session):
                self.drop_stream(session)

    def check_grant(self, grant: Grant) -> None:
        work_id = grant.work.work_id
        assert grant.indices, "a lease on nothing"
        assert grant.work.payload is not None
        agent = self.agent_of(grant.session)
        assert agent is not None, "granted to nobody"
        assert (agent.name, grant.device_id) not in self.draining, "granted to a device that drains"
        if grant.work.kind is WorkKind.CALIBRATE:
            self.holders[work_id] = (grant.session, grant.lease)
            return
        assert not self.journal[work_id] & set(grant.indices), "an item that ended was granted again"
        assert all((work_id, index) not in self.forbidden for index in grant.indices)
        holder = self.holders.get(work_id)
        assert holder is None or self.agent_of(holder[0]) is None, "granted to two live sessions at once"
        self.holders[work_id] = (grant.session, grant.lease)

    def end_item(self, work_id: str, index: int) -> None:
        self.journal[work_id].add(index)
        self.ends[self.epoch, work_id, index] += 1

    def agent_of(self, session: str) -> Agent | None:
        return next((agent for agent in self.agents.values() if agent.session == session), None)

    def send(self, session: str, instruction: Instruction) -> None:
        agent = self.agent_of(session)
        if agent is not None:
            agent.inbox.append(instruction)

    def drop_stream(self, session: str) -> None:
        agent = self.agent_of(session)
        if agent is not None:
            agent.session, agent.inbox = None, []

    def attach_agent(self, agent: Agent) -> None:
        self.sessions += 1
        session = f"s{self.sessions}"
        agent.session, agent.inbox = session, []
        self.tell(Attached(session, agent.name, str(agent.boot), agent.devices, agent.held()))
        self.note_kept_leases()
        for ref, index in sorted(agent.unacknowledged, key=str):
            self.tell(OutcomeArrived(session, ref, index, OutcomeKind.RESULT))

    def note_kept_leases(self) -> None:
        """Leases that live agents go on with, unless the desk took them back."""
        for agent in self.agents.values():
            if agent.session is None:
                continue
            taken = {each.lease for each in agent.inbox if isinstance(each, Cancel)}
            taken |= {ref for each in agent.inbox if isinstance(each, Forget) for ref in each.leases}
            for ref in agent.leases.keys() - taken:
                name, other = self.holders.get(ref.lease_id, (agent.session, ref))
                same = (name, other) == (agent.session, ref)
                assert same or self.agent_of(name) is None, "left to two live sessions at once"
                self.holders[ref.lease_id] = (agent.session, ref)

    def read_inbox(self, agent: Agent) -> None:
        match agent.inbox.pop(0):
            case Grant(lease=lease, indices=indices):
                agent.leases[lease] = list(indices)
            case Cancel(lease=lease):
                agent.leases.pop(lease, None)
            case Forget(leases=leases):
                for lease in leases:
                    agent.leases.pop(lease, None)
                agent.unacknowledged = {each for each in agent.unacknowledged if each[0] not in leases}
            case Acknowledge(lease=lease, index=index):
                agent.unacknowledged.discard((lease, index))

    def work_on(self, agent: Agent, kind: OutcomeKind, reference: float | None = 1.0, disturbed: bool = False) -> None:
        """Do one item of the agent's first lease, or say that the lease is done."""
        assert agent.session is not None
        lease, left = next(iter(agent.leases.items()))
        if left:
            index = left.pop(0)
            agent.unacknowledged.add((lease, index))
            calibration = None if reference is None else Calibration(reference)
            event = OutcomeArrived(agent.session, lease, index, kind, calibration=calibration, disturbed=disturbed)
            self.tell(event)
            return
        del agent.leases[lease]
        if self.holders.get(lease.lease_id) == (agent.session, lease):
            del self.holders[lease.lease_id]
        self.tell(LeaseFinished(agent.session, lease))

    def beat(self, agent: Agent, others: Sharing | None = None) -> None:
        assert agent.session is not None
        shared = {} if others is None else {each.device_id: others for each in agent.devices[:1]}
        self.tell(Heartbeat(agent.session, tuple(agent.leases), shared=shared))
        for each in agent.devices:
            if agent.session is not None:
                self.tell(Requested(agent.session, each.device_id, 2))

    def make_durable(self, position: int) -> None:
        delivered = self.undurable.pop(position % len(self.undurable))
        if delivered.index not in self.journal[delivered.work_id]:
            self.end_item(delivered.work_id, delivered.index)
        self.tell(OutcomeDurable(delivered.lease, delivered.index))

    # ---- what may happen

    agents_rule = st.sampled_from(AGENTS)

    @rule(each=st.sampled_from(WORKS))
    def submit(self, each: Work) -> None:
        if each.work_id not in self.submitted:
            self.submitted.add(each.work_id)
            self.tell(Submitted(each))

    @rule(name=agents_rule)
    def attach(self, name: str) -> None:
        self.attach_agent(self.agents[name])

    @rule(name=agents_rule)
    def lose_stream(self, name: str) -> None:
        session = self.agents[name].session
        if session is not None:
            self.drop_stream(session)
            self.tell(Detached(session))

    @rule(name=agents_rule, keeps_outcomes=st.booleans())
    def crash(self, name: str, keeps_outcomes: bool) -> None:
        agent = self.agents[name]
        agent.boot += 1
        agent.leases = {}
        if not keeps_outcomes:
            agent.unacknowledged = set()
        session = agent.session
        if session is not None:
            self.drop_stream(session)
            self.tell(Detached(session))

    @rule(name=agents_rule, count=st.integers(1, 5))
    def read(self, name: str, count: int) -> None:
        agent = self.agents[name]
        for _ in range(min(count, len(agent.inbox))):
            self.read_inbox(agent)

    @rule(name=agents_rule, others=st.sampled_from([None, Sharing("them"), Sharing("them", busy=True)]))
    def heartbeat(self, name: str, others: Sharing | None) -> None:
        if self.agents[name].session is not None:
            self.beat(self.agents[name], others)

    @rule(
        name=agents_rule,
        kind=st.sampled_from(OutcomeKind),
        reference=st.sampled_from([None, 1.0, 1.0, 1.1, 1.45, 3.0]),
        disturbed=st.booleans(),
    )
    def one_step(self, name: str, kind: OutcomeKind, reference: float | None, disturbed: bool) -> None:
        agent = self.agents[name]
        if agent.session is not None and agent.leases:
            self.work_on(agent, kind, reference, disturbed)

    @rule(name=agents_rule)
    def drain(self, name: str) -> None:
        keys = tuple((name, each.device_id) for each in self.agents[name].devices[:1])
        self.draining.update(keys)
        self.tell(Drained(keys, "maintenance"))

    @rule(name=agents_rule)
    def resume(self, name: str) -> None:
        keys = tuple((name, each.device_id) for each in self.agents[name].devices)
        self.draining.difference_update(keys)
        self.tell(Resumed(keys))

    @rule(name=agents_rule, device_failed=st.booleans())
    def give_up(self, name: str, device_failed: bool) -> None:
        agent = self.agents[name]
        if agent.session is not None and agent.leases:
            lease = next(iter(agent.leases))
            del agent.leases[lease]
            self.holders.pop(lease.lease_id, None)
            self.tell(LeaseFinished(agent.session, lease, "no", device_failed))

    @precondition(lambda self: self.undurable)
    @rule(position=st.integers(0, 9))
    def durable(self, position: int) -> None:
        self.make_durable(position)

    @precondition(lambda self: self.undurable)
    @rule(position=st.integers(0, 9))
    def refuse(self, position: int) -> None:
        delivered = self.undurable.pop(position % len(self.undurable))
        self.tell(OutcomeRefused(delivered.lease, delivered.index, "disk full"))

    @rule(seconds=st.sampled_from([0.1, 3.0, 6.0, 11.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick())

    @rule()
    def restart(self) -> None:
        """The coordinator is killed; the job side will submit again what its journal says is open."""
        self.epoch += 1
        self.desk = FarmDesk(self.epoch)
        for key in self.draining:
            self.desk.handle(Drained((key,), "maintenance"), self.now)
        self.undurable, self.holders, self.recovering = [], {}, []
        for agent in self.agents.values():
            agent.session, agent.inbox = None, []
        for each in WORKS:
            left = tuple(i for i in each.wanted if i not in self.journal[each.work_id])
            if each.work_id in self.submitted and left:
                again = replace(each, indices=left, suspicions=dict(self.suspicions[each.work_id]))
                self.recovering.append(again)

    @precondition(lambda self: self.recovering)
    @rule()
    def job_recovers(self) -> None:
        """A job is back from the restart, maybe after its agents."""
        self.tell(Submitted(self.recovering.pop(0), resumed=True))
        self.note_kept_leases()

    # ---- what always holds

    @invariant()
    def every_item_ended_at_most_once(self) -> None:
        assert all(count == 1 for count in getattr(self, "ends", Counter()).values())

    def teardown(self) -> None:
        """One healthy agent stays and the disk takes everything: then all of it ends."""
        if not hasattr(self, "agents"):
            return
        healthy = self.agents["a"]
        self.resume("a")
        while self.recovering:
            self.job_recovers()
        for _ in range(400):
            if all(len(self.journal[w.work_id]) == w.item_count for w in WORKS if w.work_id in self.submitted):
                break
            self.now += 2.0
            if healthy.session is None:
                self.attach_agent(healthy)
            self.beat(healthy)
            while healthy.inbox:
                self.read_inbox(healthy)
            if healthy.leases:
                self.work_on(healthy, OutcomeKind.RESULT)
            while self.undurable:
                self.make_durable(0)
            self.tell(Tick())
        else:
            raise AssertionError(f"work is left over: {self.journal}")


TestFarm = Farm.TestCase
TestFarm.settings = settings(stateful_step_count=50)
