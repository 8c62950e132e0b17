"""Properties of the job brain over any farm, any luck and any order of answers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.jobs.scenarios import (
    check_coverage,
    check_end,
    check_first_rounds,
    check_invariants,
    new_brain,
    plentiful,
    scenarios,
    spec,
)
from tests.unit.jobs.simulated_farm import Scenario, SimulatedFarm, expand, snapshot, through_json
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs.allotment import allot
from tunefarm_coordinator.jobs.brain import JobBrain
from tunefarm_coordinator.jobs.options import JobOptions, Tuner
from tunefarm_coordinator.jobs.policy import outlook
from tunefarm_coordinator.jobs.state import JobState

RUNS = examples(80)
FEW = examples(25)


def drive(farm: SimulatedFarm, most: int | None = None) -> None:
    """Steps until the end (or `most` steps), with every invariant checked after each."""
    steps = 0
    while farm.pending and (most is None or steps < most):
        told = len(farm.told)
        farm.step()
        check_invariants(farm)
        check_first_rounds(farm, farm.told[told:])
        steps += 1


def farm_of(scenario: Scenario) -> SimulatedFarm:
    return SimulatedFarm(scenario, new_brain(scenario.options))


@given(scenarios())
@RUNS
def test_any_luck_ends_within_budget(scenario: Scenario) -> None:
    farm = farm_of(scenario)
    drive(farm)
    check_end(farm)
    check_coverage(farm)


@given(plentiful())
@RUNS
def test_budget_is_spent_to_the_trial(scenario: Scenario) -> None:
    farm = farm_of(scenario)
    drive(farm)
    check_end(farm)
    assert farm.brain.ledger.charged == allot(scenario.options, scenario.tasks).budget


@given(plentiful())
@RUNS
def test_first_round_reaches_every_task_that_the_budget_reaches(scenario: Scenario) -> None:
    farm = farm_of(scenario)
    drive(farm)
    wanting = [task for task in farm.brain.tasks.values() if not task.tuned_enough]
    reached = sum(task.charged > 0 for task in wanting)
    assert reached == min(len(wanting), farm.brain.ledger.budget)


@given(scenarios(), st.integers(0, 60))
@RUNS
def test_cancel_at_any_moment(scenario: Scenario, moment: int) -> None:
    farm = farm_of(scenario)
    drive(farm, moment)
    if farm.brain.state.terminal:
        return
    charged = farm.brain.ledger.charged
    farm.tell(ev.CancelRequested("enough"))
    check_invariants(farm)
    check_end(farm)
    assert farm.brain.state is JobState.CANCELLED
    assert farm.brain.ledger.charged == charged
    assert farm.brain.notes[-1] == "cancelled: enough"


@given(scenarios(), st.integers(0, 60))
@RUNS
def test_no_new_trial_once_time_is_spent(scenario: Scenario, moment: int) -> None:
    farm = farm_of(scenario)
    drive(farm, moment)
    if farm.brain.state.terminal:
        return
    farm.tell(ev.TimeSpent())
    farm.tell(ev.TimeSpent())
    owed = farm.brain.ledger.charged + farm.brain.ledger.reserved
    check_invariants(farm)
    drive(farm)
    check_end(farm)
    assert farm.brain.ledger.charged <= owed
    if farm.brain.scouts.verdict():
        return
    for task in farm.brain.tasks.values():
        assert task.tried.issuperset(task.spec.incumbents), "what earlier jobs found is lost with the time"


@given(scenarios())
@RUNS
def test_every_incumbent_is_visited_without_a_trial(scenario: Scenario) -> None:
    farm = farm_of(scenario)
    drive(farm)
    for task in farm.brain.tasks.values():
        if task.spec.incumbents and not farm.brain.scouts.verdict():
            assert task.tried.issuperset(task.spec.incumbents)
        assert not {(task.workload, name) for name in (task.spec.baseline, *task.spec.incumbents)} & set(farm.charged)


@given(scenarios(), st.integers(0, 40))
@RUNS
def test_replayed_journal_is_the_same_brain(scenario: Scenario, moment: int) -> None:
    """A coordinator that dies after any event knows, after its restart, exactly what the dead one knew."""
    farm = farm_of(scenario)
    snapshots = [snapshot(farm.brain)]
    spent = ev.TimeSpent()
    while farm.pending:
        if len(farm.journal) == moment:
            farm.tell(spent)
        else:
            heard = len(farm.journal)
            farm.step()
            if len(farm.journal) == heard:
                continue
        snapshots.append(snapshot(farm.brain))
    replayed = new_brain(scenario.options)
    assert snapshot(replayed) == snapshots[0]
    for event, expected in zip(farm.journal, snapshots[1:], strict=True):
        replayed.handle(through_json(event))
        assert snapshot(replayed) == expected


@given(scenarios(most_tasks=3))
@FEW
def test_restart_at_every_event_still_ends(scenario: Scenario) -> None:
    """Cut the journal anywhere, replay, ask again for what is outstanding: the job ends, within its budget."""
    whole = farm_of(scenario)
    whole.run()
    for cut in range(0, len(whole.journal), max(1, len(whole.journal) // 12)):
        restarted = SimulatedFarm(scenario, replay(scenario, whole.journal[:cut]))
        restarted.proposed = {name: list(known) for name, known in whole.proposed.items()}
        already = restarted.brain.ledger.charged
        assert restarted.pending == expand(restarted.brain.outstanding())
        restarted.run()
        check_end(restarted)
        assert restarted.brain.ledger.charged == already + len(restarted.charged) <= restarted.brain.ledger.budget


def replay(scenario: Scenario, journal: list[ev.Event]) -> JobBrain:
    brain = new_brain(scenario.options)
    for event in journal:
        brain.handle(through_json(event))
    return brain


TWENTY_NINE = tuple(
    replace(spec(at, weight=1 + at % 3, flops=1e6 * (1 + at * 7 % 29)), template="conv2d") for at in range(29)
)


@pytest.mark.parametrize("tuner", ["autoscheduler", "autotvm"])
@given(seed=st.integers(0, 2**32), faults=st.sampled_from([0.0, 0.3]), losses=st.sampled_from([0.0, 0.3]))
@FEW
def test_100_trials_on_29_tasks_are_charged_to_the_trial(tuner: Tuner, seed: int, faults: float, losses: float) -> None:
    farm = capped(tuner, 100, seed, faults, losses)
    drive(farm)
    check_end(farm)
    assert farm.brain.ledger.charged == 100
    assert all(task.charged for task in farm.brain.tasks.values())


@pytest.mark.parametrize("tuner", ["autoscheduler", "autotvm"])
@given(seed=st.integers(0, 2**32), losses=st.sampled_from([0.0, 0.3]))
@FEW
def test_10_trials_on_29_tasks_go_where_the_outlook_says(tuner: Tuner, seed: int, losses: float) -> None:
    farm = capped(tuner, 10, seed, 0.0, losses)
    seen = outlook(farm.brain.options, TWENTY_NINE)
    drive(farm)
    charged = {name: task.charged for name, task in farm.brain.tasks.items()}
    if not farm.lost:
        # A trial that is lost with a device while its task is busy goes to the next one that waits.
        assert charged == seen.first_rounds
    assert sorted(charged.values()) == [0] * 19 + [1] * 10


def capped(tuner: Tuner, cap: int, seed: int, faults: float, losses: float) -> SimulatedFarm:
    """The product's policies on 29 tasks."""
    options = JobOptions(1000, early_stopping=1000, max_trials=cap, tuner=tuner)
    spaces = {task.workload: 1_000_000 for task in TWENTY_NINE}
    luck = Scenario(options, TWENTY_NINE, spaces, seed, build_faults=faults, run_faults=faults, losses=losses)
    return SimulatedFarm(luck, JobBrain(options))


def test_what_a_task_that_stopped_early_leaves_goes_to_the_others_of_a_pool_and_to_none_of_equal_shares() -> None:
    charged = {}
    tuners: tuple[Tuner, ...] = ("autoscheduler", "autotvm")
    for tuner in tuners:
        options = JobOptions(20, early_stopping=3, tuner=tuner)
        tasks = TWENTY_NINE[:3]
        luck = Scenario(options, tasks, {task.workload: 1_000_000 for task in tasks}, shuffled=False)
        farm = StoppingFarm(luck, JobBrain(options))
        farm.run()
        charged[tuner] = [farm.brain.tasks[task.workload].charged for task in tasks]
    assert charged["autotvm"][0] < 20
    assert charged["autotvm"][1:] == [20, 20]
    assert charged["autoscheduler"][0] < 20
    assert sum(charged["autoscheduler"]) == 60


class StoppingFarm(SimulatedFarm):
    """Each trial is faster than the last, but for task0, where none is faster than the default schedule."""

    def _measure(self, number: int, index: int) -> ev.ItemMeasured:
        round_ = self.brain.rounds[number]
        first = round_.workload == "task0" and not round_.items[index].trial
        slow = round_.workload == "task0"
        return ev.ItemMeasured(
            number, index, samples=(1e-6 if first else 1.0 if slow else 1 / (2 + len(self.journal)),)
        )
