"""Jobs that go on after an end or an interruption: nothing charged twice, nothing that was found is lost."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.jobs.scenarios import check_end, check_invariants, new_brain, plentiful, scenarios, spec
from tests.unit.jobs.simulated_farm import Scenario, SimulatedFarm, expand, snapshot, through_json
from tunefarm_coordinator.errors import InvalidInput, NotReady
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.brain import JobBrain
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.state import JobState

RUNS = settings(max_examples=80)
OPTIONS = JobOptions(trials_per_kernel=4, early_stopping=1000)


def job(options: JobOptions, tasks: int = 3) -> SimulatedFarm:
    specs = tuple(spec(at) for at in range(tasks))
    scenario = Scenario(options, specs, {each.workload: 1_000_000 for each in specs}, seed=7)
    return SimulatedFarm(scenario, JobBrain(options))


def finished(options: JobOptions = OPTIONS) -> SimulatedFarm:
    farm = job(options)
    farm.run()
    assert farm.brain.state is JobState.SUCCEEDED
    return farm


def test_an_extended_job_spends_the_new_total_to_the_trial() -> None:
    farm = finished()
    assert farm.brain.ledger.charged == 12
    assert any(isinstance(wanted, ins.Propose) for wanted in farm.tell(ev.Resumed("again", trials_per_kernel=10)))
    farm.run()
    check_end(farm)
    assert farm.brain.state is JobState.SUCCEEDED
    assert farm.brain.ledger.charged == farm.brain.ledger.budget == 30
    assert len(set(farm.charged)) == 30


def test_what_was_found_is_built_and_measured_again_without_a_trial() -> None:
    farm = finished()
    winners = dict(farm.brain.finals.winners)
    told = len(farm.told)
    farm.tell(ev.Resumed("again", trials_per_kernel=5))
    farm.run()
    built = {(each.workload, each.identity) for each in farm.told[told:] if isinstance(each, ins.Build)}
    assert winners
    assert built >= set(winners.items())
    finalists = {
        (group.workload, finalist.identity)
        for each in farm.told[told:]
        if isinstance(each, ins.Compare)
        for _, group in each.groups
        for finalist in group.finalists
    }
    assert finalists >= set(winners.items())


def test_numbers_of_rounds_comparisons_and_packages_are_not_used_again() -> None:
    """They name the works of the farm: an agent may still hold an outcome of the ones before."""
    farm = finished()
    told = len(farm.told)
    farm.tell(ev.Resumed("again", trials_per_kernel=5))
    farm.run()

    def names(instructions: list[ins.Instruction]) -> set[tuple[str, int]]:
        found: set[tuple[str, int]] = set()
        for each in instructions:
            if isinstance(each, ins.Compare | ins.Package | ins.TimeKernels | ins.Benchmark):
                found.add((type(each).__name__, each.number))
            if isinstance(each, ins.Measure):
                found.add(("Measure", each.round))
        return found

    assert not names(farm.told[:told]) & names(farm.told[told:])


def test_a_cancelled_job_goes_on_with_what_is_left_of_its_budget() -> None:
    farm = job(JobOptions(4, 1000))
    while farm.brain.ledger.charged < 5:
        farm.step()
    farm.tell(ev.CancelRequested(""))
    farm.tell(ev.Resumed("on"))
    farm.run()
    assert farm.brain.state is JobState.SUCCEEDED
    assert farm.brain.ledger.charged == 12


def test_a_job_that_failed_before_it_knew_its_tasks_is_prepared_again() -> None:
    farm = job(JobOptions(4, 1000))
    farm.tell(ev.StageFailed("NO_DEVICE", "none"))
    farm.pending.clear()
    assert farm.tell(ev.Resumed("on")) == [ins.Prepare()]
    assert farm.brain.error is None
    farm.run()
    assert farm.brain.state is JobState.SUCCEEDED


def test_what_can_not_be_asked_for_is_refused_before_anything_changes() -> None:
    brain = finished().brain
    before = snapshot(brain)
    with pytest.raises(InvalidInput, match="kernel_trials is AutoTVM's"):
        brain.check_resume(ev.Resumed("a", kernel_trials=9))
    with pytest.raises(InvalidInput, match="less than the 12"):
        brain.check_resume(ev.Resumed("a", max_trials=11))
    with pytest.raises(InvalidInput, match="max_trials is 0"):
        brain.check_resume(ev.Resumed("a", max_trials=0))
    with pytest.raises(NotReady, match="trials_per_kernel of more than 4"):
        brain.check_resume(ev.Resumed("a"))
    with pytest.raises(NotReady, match="trials_per_kernel of more than 4"):
        brain.check_resume(ev.Resumed("a", max_trials=99))
    brain.check_resume(ev.Resumed("a", trials_per_kernel=5))
    assert snapshot(brain) == before


def test_the_cap_that_stands_in_the_way_is_named() -> None:
    brain = finished(JobOptions(4, 1000, max_trials=6)).brain
    with pytest.raises(NotReady, match="max_trials of more than 6"):
        brain.check_resume(ev.Resumed("a", trials_per_kernel=40))


def test_autotvm_goes_on_by_its_own_total() -> None:
    specs = tuple(replace(spec(at), template="t") for at in range(2))
    options = JobOptions(4, 1000, tuner="autotvm")
    farm = SimulatedFarm(Scenario(options, specs, {each.workload: 1000 for each in specs}), JobBrain(options))
    farm.run()
    with pytest.raises(InvalidInput, match="trials_per_kernel is Auto-scheduler's"):
        farm.brain.check_resume(ev.Resumed("a", trials_per_kernel=9))
    farm.tell(ev.Resumed("a", kernel_trials=6))
    farm.run()
    assert [task.charged for task in farm.brain.tasks.values()] == [6, 6]


def test_the_same_wish_twice_counts_once() -> None:
    farm = finished()
    farm.tell(ev.Resumed("again", trials_per_kernel=5))
    before = snapshot(farm.brain)
    assert farm.brain.handle(ev.Resumed("again", trials_per_kernel=5)) == []
    assert snapshot(farm.brain) == before


def interrupt(farm: SimulatedFarm, resumed: ev.Resumed) -> None:
    """The coordinator died and another one was told to go on: whatever was under way is asked for anew."""
    farm.pending.clear()
    farm.tell(resumed)
    assert farm.pending == expand(farm.brain.outstanding())


@given(scenarios(), st.integers(0, 60), st.booleans(), st.integers(0, 5))
@RUNS
def test_a_job_that_goes_on_at_any_moment_ends_within_its_budget(
    scenario: Scenario, moment: int, cancelled: bool, more: int
) -> None:
    farm = SimulatedFarm(replace(scenario, late=0.0), new_brain(scenario.options))
    while farm.pending and len(farm.journal) < moment:
        farm.step()
    if cancelled:
        farm.tell(ev.CancelRequested(""))
    charged = farm.brain.ledger.charged
    resumed = ev.Resumed("on", trials_per_kernel=scenario.options.trials_per_kernel + more)
    try:
        farm.brain.check_resume(resumed)
    except NotReady:
        return
    interrupt(farm, resumed)
    check_invariants(farm)
    while farm.pending:
        farm.step()
        check_invariants(farm)
    check_end(farm)
    assert charged <= farm.brain.ledger.charged <= farm.brain.ledger.budget
    replayed = new_brain(scenario.options)
    for event in farm.journal:
        replayed.handle(through_json(event))
    assert snapshot(replayed) == snapshot(farm.brain)


@given(plentiful(), st.integers(1, 4))
@RUNS
def test_an_extension_is_spent_to_the_trial(scenario: Scenario, more: int) -> None:
    farm = SimulatedFarm(replace(scenario, late=0.0), new_brain(replace(scenario.options, max_trials=None)))
    farm.run()
    if farm.brain.state is not JobState.SUCCEEDED:
        return
    total = scenario.options.trials_per_kernel + more
    interrupt(farm, ev.Resumed("on", trials_per_kernel=total))
    farm.run()
    check_end(farm)
    assert farm.brain.ledger.charged == total * len(scenario.tasks)
