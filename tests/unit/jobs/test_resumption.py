"""Jobs that go on after an end or an interruption: nothing charged twice, nothing that was found is lost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.jobs.scenarios import (
    ENDLESS,
    check_end,
    check_first_rounds,
    check_invariants,
    new_brain,
    plentiful,
    scenarios,
    spec,
)
from tests.unit.jobs.simulated_farm import Scenario, SimulatedFarm, expand, snapshot, through_json
from tunefarm_coordinator.errors import InvalidInput, NotReady
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.allotment import allot
from tunefarm_coordinator.jobs.brain import JobBrain
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.resumption import options_after
from tunefarm_coordinator.jobs.state import JobState

RUNS = examples(80)
OPTIONS = JobOptions(trials_per_kernel=4, early_stopping=1000)


class SureFarm(SimulatedFarm):
    """What won alone is faster inside the model too."""

    def _kernels_timed(self, wanted: ins.TimeKernels) -> ev.KernelsTimed:
        return ev.KernelsTimed(tuple(ev.KernelTiming(name, (0.5,), (1.0,)) for name in wanted.workloads))


def job(options: JobOptions, tasks: int = 3, kind: type[SimulatedFarm] = SimulatedFarm) -> SimulatedFarm:
    specs = tuple(spec(at) for at in range(tasks))
    scenario = Scenario(options, specs, {each.workload: 1_000_000 for each in specs}, seed=7)
    return kind(scenario, JobBrain(options))


def finished(options: JobOptions = OPTIONS, kind: type[SimulatedFarm] = SimulatedFarm) -> SimulatedFarm:
    farm = job(options, kind=kind)
    farm.run()
    assert farm.brain.state is JobState.SUCCEEDED
    return farm


def test_a_cancelled_job_that_went_on_is_cancelled_no_more() -> None:
    farm = job(OPTIONS)
    farm.brain.notes.append("of the model")
    farm.tell(ev.CancelRequested("by the user"))
    assert farm.brain.notes == ["of the model", "cancelled: by the user"]
    farm.tell(ev.Resumed("again"))
    farm.run()
    assert farm.brain.state is JobState.SUCCEEDED
    assert farm.brain.notes[0] == "of the model"
    assert not any("cancelled" in note for note in farm.brain.notes)


def test_an_extended_job_spends_the_new_total_to_the_trial() -> None:
    farm = finished()
    assert farm.brain.ledger.charged == 12
    farm.tell(ev.Resumed("again", trials_per_kernel=10))
    farm.run()
    check_end(farm)
    assert farm.brain.state is JobState.SUCCEEDED
    assert farm.brain.ledger.charged == farm.brain.ledger.budget == 30
    assert len(set(farm.charged)) == 30


def test_what_was_found_is_built_and_measured_again_without_a_trial() -> None:
    farm = finished(kind=SureFarm)
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


def test_both_tuners_go_on_by_the_pools_total() -> None:
    farm = finished(JobOptions(4, 1000, tuner="both"))
    with pytest.raises(InvalidInput, match='this job\'s tuner is "both"'):
        farm.brain.check_resume(ev.Resumed("a", kernel_trials=9))
    before = sum(task.charged for task in farm.brain.tasks.values())
    farm.tell(ev.Resumed("a", trials_per_kernel=6))
    farm.run()
    assert before == 4 * len(farm.brain.tasks)
    assert sum(task.charged for task in farm.brain.tasks.values()) == 6 * len(farm.brain.tasks)


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


def wish(options: JobOptions, total: int) -> ev.Resumed:
    """A new total in the words of the job's tuner."""
    autotvm = options.tuner == "autotvm"
    return ev.Resumed("on", kernel_trials=total) if autotvm else ev.Resumed("on", trials_per_kernel=total)


ENDS = st.sampled_from(["interrupted", "cancelled", "failed", "time"])
# (answers until then, what happens, trials per kernel more, another cap)
TURNS = st.lists(st.tuples(st.integers(0, 40), ENDS, st.integers(0, 4), st.none() | st.integers(1, 30)), max_size=4)


@given(scenarios(), TURNS)
@RUNS
def test_a_job_that_goes_on_at_any_moments_ends_within_its_budget(
    scenario: Scenario, turns: list[tuple[int, str, int, int | None]]
) -> None:
    """However often it stops, and why: invariants after each answer, no first round passed over, exact refunds, an
    end, and a journal that rebuilds the very same brain."""
    farm = SimulatedFarm(replace(scenario, late=0.0), new_brain(scenario.options))
    for at, (answers, end, more, cap) in enumerate(turns):
        stop(farm, answers, end)
        charged = farm.brain.ledger.charged
        resumed = replace(
            wish(scenario.options, farm.brain.options.trials_per_kernel + more), key=f"on{at}", max_trials=cap
        )
        try:
            farm.brain.check_resume(resumed)
        except (NotReady, InvalidInput):
            continue
        interrupt(farm, resumed)
        check_invariants(farm)
        assert farm.brain.ledger.charged == charged
        if farm.brain.tasks:
            specs = [task.spec for task in farm.brain.tasks.values()]
            assert farm.brain.ledger.budget == allot(farm.brain.options, specs).budget
    go(farm, ENDLESS)
    if farm.brain.state.terminal:
        check_end(farm)
    asked = {wanted.round: wanted.count for wanted in farm.told if isinstance(wanted, ins.Propose)}
    assert sum(asked.values()) == farm.brain.ledger.charged + farm.brain.refunded
    replayed = new_brain(scenario.options)
    for event in farm.journal:
        replayed.handle(through_json(event))
    assert snapshot(replayed) == snapshot(farm.brain)


def go(farm: SimulatedFarm, answers: int) -> None:
    """So many answers, or to the end."""
    while farm.pending and answers > 0:
        told = len(farm.told)
        farm.step()
        check_invariants(farm)
        check_first_rounds(farm, farm.told[told:])
        answers -= 1


def stop(farm: SimulatedFarm, answers: int, end: str) -> None:
    go(farm, answers)
    if farm.brain.state.terminal:
        return
    if end == "cancelled":
        farm.tell(ev.CancelRequested(""))
    elif end == "failed":
        farm.tell(ev.StageFailed("INTERNAL", "bad day"))
    elif end == "time":
        farm.tell(ev.TimeSpent())
        go(farm, ENDLESS)


@given(plentiful(), st.integers(1, 4))
@RUNS
def test_an_extension_is_spent_to_the_trial(scenario: Scenario, more: int) -> None:
    farm = SimulatedFarm(replace(scenario, late=0.0), new_brain(replace(scenario.options, max_trials=None)))
    farm.run()
    if farm.brain.state is not JobState.SUCCEEDED:
        return
    options = replace(scenario.options, max_trials=None)
    total = options.trials_per_kernel + more
    resumed = wish(options, total)
    try:
        farm.brain.check_resume(resumed)
    except NotReady:
        assert allot(options, scenario.tasks) == allot(replace(options, trials_per_kernel=total), scenario.tasks)
        return
    interrupt(farm, resumed)
    farm.run()
    check_end(farm)
    assert farm.brain.ledger.charged == allot(replace(options, trials_per_kernel=total), scenario.tasks).budget


# ---- what was wrong once


def test_a_model_without_tasks_that_succeeded_has_nothing_to_go_on_with() -> None:
    farm = job(OPTIONS, tasks=0)
    farm.run()
    assert farm.brain.state is JobState.SUCCEEDED
    with pytest.raises(NotReady, match="no kernel"):
        farm.brain.check_resume(ev.Resumed("on", trials_per_kernel=99))


@pytest.mark.parametrize("state", [JobState.PACKAGING, JobState.BENCHMARKING])
def test_a_model_without_tasks_goes_on_from_where_it_was_interrupted(state: JobState) -> None:
    farm = job(OPTIONS, tasks=0)
    while farm.brain.state is not state:
        farm.step()
    notes = list(farm.brain.notes)
    farm.brain.check_resume(ev.Resumed("on"))
    interrupt(farm, ev.Resumed("on"))
    farm.run()
    assert farm.brain.state is JobState.SUCCEEDED
    assert farm.brain.notes == notes


def test_autotvm_without_a_template_does_not_succeed_by_being_resumed() -> None:
    farm = job(replace(OPTIONS, tuner="autotvm"))
    farm.run()
    assert farm.brain.error is not None
    assert farm.brain.error[0] == "INVALID_INPUT"
    with pytest.raises(InvalidInput, match="no template"):
        farm.brain.check_resume(ev.Resumed("on", kernel_trials=99))


def test_what_a_cancelled_job_had_proposed_and_not_measured_may_be_proposed_again() -> None:
    """Else a small space has no candidates left for the trials that came back."""
    brain = JobBrain(JobOptions(4, 1000))
    brain.handle(ev.Prepared("llvm", "class-1", (spec(0),), 1.0))
    (first,) = brain.outstanding()
    assert isinstance(first, ins.Propose)
    names = tuple(f"task0/{at}" for at in range(first.count))
    brain.handle(ev.Proposed(first.round, names, 0.1))
    brain.handle(ev.CancelRequested(""))
    assert brain.tasks["task0"].tried == set()
    (again,) = (each for each in brain.handle(ev.Resumed("on")) if isinstance(each, ins.Propose))
    built = brain.handle(ev.Proposed(again.round, names, 0.1))
    assert {each.identity for each in built if isinstance(each, ins.Build)} >= set(names)


def test_a_smaller_total_holds_even_for_what_was_under_way() -> None:
    farm = job(replace(OPTIONS, trials_per_kernel=20))
    while farm.brain.ledger.charged < 5:
        farm.step()
    charged = farm.brain.ledger.charged
    assert farm.brain.ledger.reserved > 1
    less = ev.Resumed("less", max_trials=charged + 1)
    farm.brain.check_resume(less)
    interrupt(farm, less)
    check_invariants(farm)
    assert farm.brain.ledger.budget == charged + 1
    farm.run()
    assert farm.brain.ledger.charged == charged + 1


def test_no_task_gets_more_than_its_share_of_a_smaller_total() -> None:
    """The new total has room for what was under way, and gives it to another task."""
    specs = tuple(replace(spec(at), template="conv2d") for at in range(4))
    options = JobOptions(1, 1000, rounds_in_flight=1, tuner="autotvm")
    farm = SimulatedFarm(Scenario(options, specs, {each.workload: 5 for each in specs}), new_brain(options))
    farm.step()
    (under_way,) = (task for task in farm.brain.tasks.values() if task.unsettled)
    less = ev.Resumed("less", max_trials=1)
    (meant,) = (name for name, quota in allot(options_after(options, less), specs).quotas.items() if quota)
    assert under_way.workload != meant
    interrupt(farm, less)
    check_invariants(farm)
    farm.run()
    assert {name: task.charged for name, task in farm.brain.tasks.items() if task.charged} == {meant: 1}


def test_today_s_device_decides_how_fast_a_known_schedule_is() -> None:
    farm = finished()
    before = {name: task.best_seconds for name, task in farm.brain.tasks.items()}
    farm.tell(ev.Resumed("on", trials_per_kernel=5))
    told = set()
    while any(task.extras for task in farm.brain.tasks.values()) or farm.brain.rounds:
        if farm.brain.state is not JobState.TUNING:
            break
        ask = next(iter(farm.pending))
        event = farm.answer(ask, farm.pending.pop(ask))
        if isinstance(event, ev.ItemMeasured):
            told.add(farm.brain.rounds[event.round].workload)
            event = replace(event, samples=(1.0,))
        farm._account(ask, event)
        farm.tell(event)
    assert told == set(before)
    assert all(task.best_seconds == 1.0 for task in farm.brain.tasks.values())


def test_known_schedules_are_measured_again_before_any_trial_is_given_out_by_their_times() -> None:
    farm = finished()
    wanted = farm.tell(ev.Resumed("on", trials_per_kernel=9))
    assert {each.workload for each in wanted if isinstance(each, ins.Build)} == set(farm.brain.tasks)


def test_the_total_that_stands_in_the_way_is_named_where_some_kernels_have_no_template() -> None:
    specs = (replace(spec(0), template="t"), spec(1), spec(2))
    options = JobOptions(4, 1000, max_trials=6, tuner="autotvm")
    farm = SimulatedFarm(Scenario(options, specs, {each.workload: 1000 for each in specs}), JobBrain(options))
    farm.run()
    assert farm.brain.ledger.charged == 4
    with pytest.raises(NotReady, match="kernel_trials of more than 4"):
        farm.brain.check_resume(ev.Resumed("on"))
