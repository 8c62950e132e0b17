"""Hypothesis strategies for jobs and farms, and the invariants that hold after every event of every one of them."""

from dataclasses import replace

from hypothesis import strategies as st

from tests.unit.jobs.simulated_farm import Scenario, SimulatedFarm, expand
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.brain import JobBrain
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.policy import DynamicPolicy, UniformPolicy
from tunefarm_coordinator.jobs.round import Stage
from tunefarm_coordinator.jobs.state import JobState

ENDLESS = 1_000_000


def spec(at: int, weight: int = 1, flops: float = 1e6, incumbents: tuple[str, ...] = (), known: int = 0) -> ev.TaskSpec:
    name = f"task{at}"
    return ev.TaskSpec(name, f"conv{at}", weight, flops, f"default:{name}", incumbents, known)


@st.composite
def specs(draw: st.DrawFn, most: int = 6) -> tuple[ev.TaskSpec, ...]:
    made = []
    for at in range(draw(st.integers(1, most))):
        incumbents = tuple(f"old{at}/{n}" for n in range(draw(st.integers(0, 2))))
        known = draw(st.sampled_from([0, 0, 1, 5, 100])) if incumbents else 0
        flops = draw(st.sampled_from([0.0, 1e3, 1e9]))
        # A job without any template ends at once; that has a test of its own.
        template = draw(st.sampled_from(["conv2d", "conv2d", ""])) if at else "conv2d"
        made.append(replace(spec(at, draw(st.integers(1, 3)), flops, incumbents, known), template=template))
    return tuple(made)


@st.composite
def job_options(draw: st.DrawFn, early_stopping: st.SearchStrategy[int]) -> JobOptions:
    return JobOptions(
        trials_per_kernel=draw(st.integers(1, 8)),
        early_stopping=draw(early_stopping),
        max_trials=draw(st.none() | st.integers(1, 30)),
        finalists=draw(st.integers(1, 4)),
        rounds_in_flight=draw(st.integers(1, 5)),
        tuner=draw(st.sampled_from(["autoscheduler", "autotvm"])),
        exploration_trials=draw(st.sampled_from([0, 0, 3])),
    )


_RATE = st.sampled_from([0.0, 0.0, 0.2, 0.9])


@st.composite
def scenarios(draw: st.DrawFn, most_tasks: int = 6) -> Scenario:
    """Anything that may happen to a job, but for cancels and time limits."""
    tasks = draw(specs(most_tasks))
    sizes = st.sampled_from([0, 1, 5, ENDLESS])
    losses = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5]))
    return Scenario(
        options=draw(job_options(st.integers(1, 12))),
        tasks=tasks,
        spaces={task.workload: draw(sizes) for task in tasks},
        seed=draw(st.integers(0, 2**32)),
        build_faults=draw(_RATE),
        run_faults=draw(_RATE),
        losses=losses,
        censored=draw(_RATE),
        short=draw(_RATE),
        echoes=draw(_RATE),
        late=draw(st.sampled_from([0.0, 0.3])),
        shuffled=draw(st.booleans()),
        alike=draw(st.booleans()),
    )


@st.composite
def plentiful(draw: st.DrawFn) -> Scenario:
    """Jobs in which nothing runs out and nothing stops early; devices and candidates still fail."""
    tasks = draw(specs())
    return Scenario(
        options=draw(job_options(st.just(ENDLESS))),
        tasks=tasks,
        spaces={task.workload: ENDLESS for task in tasks},
        seed=draw(st.integers(0, 2**32)),
        build_faults=draw(st.sampled_from([0.0, 0.3])),
        run_faults=draw(st.sampled_from([0.0, 0.3])),
        losses=draw(st.sampled_from([0.0, 0.4])),
        censored=draw(st.sampled_from([0.0, 0.3])),
        short=draw(st.sampled_from([0.0, 0.5])),
        echoes=draw(st.sampled_from([0.0, 0.3])),
        late=draw(st.sampled_from([0.0, 0.2])),
    )


def new_brain(options: JobOptions) -> JobBrain:
    """Rounds smaller than the product's, so that small budgets make several."""
    policy = UniformPolicy if options.tuner == "autotvm" else DynamicPolicy
    return JobBrain(options, policy(first_round=2, first_share=0.5, round_size=3))


def check_invariants(farm: SimulatedFarm) -> None:
    """What must hold after every event."""
    brain, ledger = farm.brain, farm.brain.ledger
    assert 0 <= ledger.charged <= ledger.budget
    assert ledger.reserved >= 0
    assert ledger.charged + ledger.reserved <= ledger.budget
    assert ledger.reserved == _unsettled(brain), "a reservation was kept or refunded wrongly"
    for task in brain.tasks.values():
        assert task.unsettled == _unsettled_of(task.workload, brain)
        assert task.quota is None or task.charged + task.unsettled <= max(task.quota, task.charged), "over its share"
    assert ledger.charged == len(farm.charged) == sum(task.valid + task.failed for task in brain.tasks.values())
    assert len(set(farm.charged)) == len(farm.charged), "a candidate was charged twice"
    check_scouts(brain)
    assert sum(brain.failures.values()) == sum(task.failed for task in brain.tasks.values())
    if not brain.state.terminal:
        assert expand(brain.outstanding()).keys() == farm.pending.keys(), "a restart would ask for something else"
        assert farm.pending, "the job waits for nothing, for ever"


def check_scouts(brain: JobBrain) -> None:
    """While nothing was measured, no more than two rounds spend trials."""
    spending = [
        round_
        for round_ in brain.rounds.values()
        if round_.stage in (Stage.BUILDING, Stage.MEASURING) and any(item.trial for item in round_.items)
    ]
    assert brain.scouts.released or len(spending) <= 2, "many rounds are at risk before anything is known to work"
    assert brain.state.terminal or not brain.scouts.verdict(), "a job without hope goes on"


def check_first_rounds(farm: SimulatedFarm, instructions: list[ins.Instruction]) -> None:
    """When a task goes again, every task that has no trial yet has one under way or kept back for it."""
    brain = farm.brain
    again = [
        wanted for wanted in instructions if isinstance(wanted, ins.Propose) and brain.tasks[wanted.workload].covered
    ]
    waiting = [
        task.workload
        for task in brain.tasks.values()
        if task.open and not (task.covered or _unsettled_of(task.workload, brain))
    ]
    assert not again or len(waiting) <= brain.ledger.free, f"{again} took the first rounds of {waiting}"


def check_coverage(farm: SimulatedFarm) -> None:
    """At the end: if some task that wanted trials had none, then no other had two; unless nothing works at all."""
    if farm.brain.scouts.verdict():
        return
    tasks = farm.brain.tasks.values()
    missed = [task for task in tasks if not (task.covered or task.exhausted)]
    assert not missed or all(task.charged <= 1 for task in tasks), f"{missed} got nothing, and others more than one"


def check_end(farm: SimulatedFarm) -> None:
    """What must hold once the farm has nothing left to answer."""
    assert farm.brain.state.terminal
    assert farm.brain.ledger.reserved == 0
    assert farm.brain.outstanding() == []
    if farm.brain.state is JobState.FAILED:
        assert farm.brain.error is not None


def _unsettled(brain: JobBrain) -> int:
    return sum(_unsettled_of(workload, brain) for workload in brain.tasks)


def _unsettled_of(workload: str, brain: JobBrain) -> int:
    """Trials of a task that are asked for and neither charged nor given back."""
    return sum(
        round_.asked if round_.stage is Stage.PROPOSING else sum(item.trial and not item.ended for item in round_.items)
        for round_ in brain.rounds.values()
        if round_.workload == workload
    )
