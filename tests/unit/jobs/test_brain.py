"""The job brain's decisions, one at a time, on a farm whose answers are written down."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from tests.unit.jobs.scenarios import ENDLESS, new_brain, spec
from tests.unit.jobs.simulated_farm import Scenario, SimulatedFarm, artifact_of
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.state import JobState

BASELINE = "default:task0"
WRONG = ev.Failure("WRONG_OUTPUT", "off by 7")


@dataclass
class WrittenFarm(SimulatedFarm):
    """Answers by identity: seconds, or a failure; what is not written down takes 1 ms and compares as it measured."""

    builds: dict[str, ev.Failure] = field(default_factory=dict)
    measured: Mapping[str, float | ev.Failure | None] = field(default_factory=dict)
    compared: Mapping[str, float | ev.Failure] = field(default_factory=dict)
    in_model: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = field(default_factory=dict)

    def _build(self, wanted: ins.Build) -> ev.BuildEnded:
        failure = self.builds.get(wanted.identity)
        artifact = None if failure else artifact_of(wanted.identity)
        return ev.BuildEnded(wanted.round, wanted.index, artifact, failure, seconds=0.125)

    def _measure(self, number: int, index: int) -> ev.ItemMeasured:
        outcome = self.measured.get(self.brain.rounds[number].items[index].identity, 1e-3)
        if outcome is None:
            return ev.ItemMeasured(number, index, at_least=1.0)
        if isinstance(outcome, ev.Failure):
            return ev.ItemMeasured(number, index, failure=outcome)
        return ev.ItemMeasured(number, index, samples=(outcome,))

    def _compared(self, identity: str) -> ev.FinalistResult:
        outcome = self.compared.get(identity, self.measured.get(identity, 1e-3))
        assert outcome is not None
        if isinstance(outcome, ev.Failure):
            return ev.FinalistResult(identity, failure=outcome)
        return ev.FinalistResult(identity, (outcome,))

    def _kernels_timed(self, wanted: ins.TimeKernels) -> ev.KernelsTimed:
        kernels = [ev.KernelTiming(name, *self.in_model[name]) for name in wanted.workloads if name in self.in_model]
        return ev.KernelsTimed(tuple(kernels), seconds=0.25)

    def run_until(self, state: JobState) -> None:
        while self.brain.state is not state:
            self.step()

    def told_of(self, kind: type[ins.Instruction]) -> list[ins.Instruction]:
        return [wanted for wanted in self.told if isinstance(wanted, kind)]


def farm(
    *tasks: ev.TaskSpec,
    trials: int = 4,
    early_stopping: int = ENDLESS,
    max_trials: int | None = None,
    finalists: int = 3,
    space: int = ENDLESS,
) -> WrittenFarm:
    tasks = tasks or (spec(0),)
    options = JobOptions(trials, early_stopping, max_trials, finalists)
    spaces = {task.workload: space for task in tasks}
    return WrittenFarm(Scenario(options, tasks, spaces, shuffled=False), new_brain(options))


# ---- from end to end


def test_every_stage_in_turn() -> None:
    job = farm()
    states = [job.brain.state]
    while job.pending:
        job.step()
        if job.brain.state is not states[-1]:
            states.append(job.brain.state)
    assert states == [
        JobState.PREPARING,
        JobState.TUNING,
        JobState.VERIFYING,
        JobState.PACKAGING,
        JobState.BENCHMARKING,
        JobState.SUCCEEDED,
    ]
    assert job.brain.benchmark is not None
    # The default schedule and four trials were measured once, three finalists and the default compared.
    assert job.brain.measurements == 1 + 4
    assert dict(job.brain.seconds) == {
        "prepare": 1.5,
        "search": 2 * 0.25,
        "build": 5 * 0.125,
        "measure": 0.5 + 3.0,  # no winner, so none was timed inside the model
        "package": 2.0,
    }


def test_a_model_without_tasks_is_packaged_as_it_is() -> None:
    job = farm()
    assert job.brain.handle(ev.Prepared("llvm", "class-1", (), 1.0)) == [ins.Package(())]
    assert job.brain.ledger.budget == 0


def test_a_task_without_a_design_space_keeps_its_default_schedule() -> None:
    job = farm(spec(0, flops=1e9), spec(1), trials=2)
    job.step()
    ask, wanted = next(each for each in job.pending.items() if isinstance(each[1], ins.Propose))
    assert wanted.workload == "task0"
    del job.pending[ask]
    job.tell(ev.Proposed(wanted.round, (), 0.0, "conv0 keeps its default schedule"))
    job.run()
    assert job.brain.state is JobState.SUCCEEDED
    assert job.brain.notes[1:] == ["conv0 keeps its default schedule"]
    assert job.brain.tasks["task0"].charged == 0
    assert job.brain.tasks["task0"].baseline_seconds == 1e-3
    # What it leaves goes to the others.
    assert job.brain.tasks["task1"].charged == job.brain.ledger.budget == 4


def test_autotvm_packages_a_model_without_tasks() -> None:
    brain = new_brain(JobOptions(4, ENDLESS, tuner="autotvm"))
    assert brain.handle(ev.Prepared("llvm", "class-1", (), 1.0)) == [ins.Package(())]


def test_budget_smaller_than_the_number_of_tasks_reaches_the_heaviest() -> None:
    tasks = [spec(at, weight=1 + at % 2, flops=1e6 * (1 + at)) for at in range(5)]
    job = farm(*tasks, max_trials=2)
    job.run()
    assert job.brain.state is JobState.SUCCEEDED
    charged = {name: task.charged for name, task in job.brain.tasks.items()}
    # flops x weight: 1, 4, 3, 8, 5.
    assert charged == {"task0": 0, "task1": 0, "task2": 0, "task3": 1, "task4": 1}


# ---- winners


def winners_of(job: WrittenFarm) -> dict[str, str]:
    job.run()
    assert job.brain.state is JobState.SUCCEEDED
    packages = [wanted for wanted in job.told if isinstance(wanted, ins.Package)]
    assert packages[-1].best == tuple(sorted(job.brain.finals.winners.items()))
    return job.brain.finals.winners


def test_the_comparison_decides_not_the_first_measurement() -> None:
    job = farm()
    job.measured = {BASELINE: 9e-3, "task0/0": 1e-3, "task0/1": 2e-3, "task0/2": 5e-3, "task0/3": 6e-3}
    job.compared = {"task0/0": 2e-3, "task0/1": 1e-3}
    assert winners_of(job) == {"task0": "task0/1"}


def test_a_finalist_with_wrong_output_never_wins() -> None:
    job = farm()
    job.measured = {BASELINE: 9e-3, "task0/0": 1e-6}
    job.compared = {"task0/0": WRONG}
    assert winners_of(job)["task0"] != "task0/0"


def test_a_failed_finalist_does_not_win_by_the_samples_that_it_has() -> None:
    job = farm()
    job.run_until(JobState.VERIFYING)
    timed_then_wrong = ev.FinalistResult("task0/0", (1e-9,), WRONG)
    held = ev.FinalistResult("task0/1", (1e-3,))
    job.tell(ev.GroupCompared(0, 0, "task0", (timed_then_wrong, held)))
    assert job.brain.finals.winners == {"task0": "task0/1"}
    assert job.brain.estimated_seconds == 1e-3


def test_the_default_schedule_is_kept_where_it_is_the_fastest() -> None:
    job = farm()
    job.measured = {BASELINE: 1e-3, "task0/0": 9e-4, "task0/1": 2e-3, "task0/2": 2e-3, "task0/3": 2e-3}
    job.compared = {"task0/0": 2e-3}
    assert winners_of(job) == {}


def test_the_default_schedule_is_kept_where_no_finalist_held() -> None:
    job = farm(trials=1)
    job.compared = {"task0/0": WRONG, BASELINE: ev.Failure("DEVICE_LOST", "cable")}
    assert winners_of(job) == {}
    assert job.brain.notes[-1] == (
        "conv0: no finalist held in the comparison, default schedule kept (WRONG_OUTPUT: off by 7)"
    )


def packages_of(job: WrittenFarm) -> list[dict[str, str]]:
    job.run()
    assert job.brain.state is JobState.SUCCEEDED
    return [dict(wanted.best) for wanted in job.told if isinstance(wanted, ins.Package)]


FASTER = {BASELINE: 2e-3, "task0/0": 1e-3}


def test_a_winner_that_is_slower_inside_the_model_is_packaged_no_more() -> None:
    job = farm(trials=1)
    job.measured = FASTER
    job.in_model = {"task0": ((1.1e-3, 1.2e-3), (1.0e-3, 1.1e-3))}
    assert packages_of(job) == [{"task0": "task0/0"}, {}]
    assert job.brain.finals.winners == {}


def test_a_winner_that_is_faster_inside_the_model_needs_no_second_package() -> None:
    job = farm(trials=1)
    job.measured = FASTER
    job.in_model = {"task0": ((0.9e-3, 1.0e-3), (1.0e-3, 1.1e-3))}
    assert packages_of(job) == [{"task0": "task0/0"}]
    assert job.brain.finals.in_model["task0"] == pytest.approx((0.95e-3, 1.05e-3))


def test_kernels_are_compared_round_by_round_as_the_device_changes_speed() -> None:
    job = farm(trials=1)
    job.measured = FASTER
    # The tuned one is the faster in each round, and has the slower median.
    job.in_model = {"task0": ((1e-3, 2.9e-3, 2.8e-3), (1.1e-3, 3e-3, 1.2e-3))}
    assert packages_of(job) == [{"task0": "task0/0"}]


@pytest.mark.parametrize(("seconds", "kept"), [(1.89e-3, True), (1.95e-3, False)])
def test_a_winner_that_was_not_seen_inside_the_model_needs_a_margin(seconds: float, kept: bool) -> None:
    job = farm(trials=1)
    job.measured = {BASELINE: 2e-3, "task0/0": seconds}
    assert packages_of(job)[-1] == ({"task0": "task0/0"} if kept else {})


def test_a_winner_stays_where_the_default_schedule_did_not_hold() -> None:
    job = farm(trials=1)
    job.measured = FASTER
    job.compared = {BASELINE: WRONG}
    job.in_model = {"task0": ((9e-3,), (1e-3,))}
    assert packages_of(job) == [{"task0": "task0/0"}]


def test_a_task_whose_default_schedule_fails_is_won_by_a_trial() -> None:
    job = farm()
    job.builds = {BASELINE: ev.Failure("BUILD_ERROR", "no code")}
    job.measured = {"task0/2": 1e-6}
    assert winners_of(job) == {"task0": "task0/2"}


def test_only_the_fastest_finalists_are_compared_and_the_default_beside_them() -> None:
    job = farm(finalists=2)
    job.measured = {BASELINE: 5e-3, "task0/0": 3e-3, "task0/1": 1e-3, "task0/2": 2e-3, "task0/3": None}
    job.run_until(JobState.VERIFYING)
    (compare,) = job.told_of(ins.Compare)
    assert isinstance(compare, ins.Compare)
    assert [finalist.identity for finalist in compare.groups[0][1].finalists] == ["task0/1", "task0/2", BASELINE]


def test_comparisons_of_many_tasks_come_in_several_leases_each_answered_by_itself() -> None:
    job = farm(*[spec(at) for at in range(9)], trials=1)
    job.run_until(JobState.VERIFYING)
    sizes = [len(wanted.groups) for wanted in job.told if isinstance(wanted, ins.Compare)]
    assert sizes == [8, 1]
    job.step()
    (first, second) = job.brain.outstanding()
    assert isinstance(first, ins.Compare)
    assert isinstance(second, ins.Compare)
    assert [index for index, _ in first.groups] == [1, 2, 3, 4, 5, 6, 7]
    assert [index for index, _ in second.groups] == [0]


# ---- no valid trial


def test_no_valid_trial_names_the_most_frequent_error() -> None:
    job = farm()
    job.builds = {"task0/1": ev.Failure("BUILD_ERROR", "no such intrinsic")}
    job.measured = {f"task0/{at}": ev.Failure("RUN_TIMEOUT", "30 s") for at in (0, 2)} | {"task0/3": WRONG}
    job.run()
    assert job.brain.state is JobState.FAILED
    assert job.brain.error == (
        "NO_VALID_TRIAL",
        "none of 4 trials could be measured; most frequent (2x): RUN_TIMEOUT: 30 s",
    )
    assert job.brain.ledger.charged == 4
    assert job.told[-1] == ins.WithdrawAll()


def test_no_valid_trial_where_every_trial_was_lost() -> None:
    job = farm(space=3)
    job.measured = {f"task0/{at}": ev.Failure("DEVICE_LOST", "power") for at in range(3)}
    job.run()
    assert job.brain.ledger.charged == 0
    assert job.brain.error == (
        "NO_VALID_TRIAL",
        "none of 3 trials could be measured; most frequent (3x): DEVICE_LOST: power",
    )


def test_an_empty_space_is_no_failure() -> None:
    job = farm(space=0)
    assert winners_of(job) == {}
    assert job.brain.ledger.charged == 0


def test_one_task_without_a_valid_trial_does_not_fail_the_job() -> None:
    job = farm(spec(0), spec(1))
    job.builds = {f"task0/{at}": ev.Failure("BUILD_ERROR", "no") for at in range(100)}
    winners_of(job)
    assert job.brain.tasks["task0"].valid == 0


def test_a_task_that_never_builds_does_not_eat_the_budget_of_the_others() -> None:
    job = farm(spec(0), spec(1), spec(2), trials=16)
    no_code = ev.Failure("BUILD_ERROR", "no")
    job.builds = {BASELINE: no_code} | {f"task0/{at}": no_code for at in range(100)}
    winners_of(job)
    charged = {name: task.charged for name, task in job.brain.tasks.items()}
    assert sum(charged.values()) == 48
    assert charged["task0"] <= 24


# ---- early stopping


def test_a_task_stops_after_so_many_trials_without_improvement() -> None:
    job = farm(trials=50, early_stopping=4)
    job.measured = {"task0/1": 1e-4}
    job.run()
    # Better at the second; then two whole rounds of three, as a round is never cut short.
    assert job.brain.ledger.charged == 2 + 3 + 3
    assert job.brain.state is JobState.SUCCEEDED


def test_failed_trials_do_not_count_towards_early_stopping() -> None:
    job = farm(trials=20, early_stopping=3)
    job.measured = {f"task0/{at}": WRONG for at in range(17)}
    job.run()
    assert job.brain.ledger.charged == 20
    assert job.brain.tasks["task0"].valid == 3


def test_trials_of_a_stopped_task_go_to_the_others() -> None:
    job = farm(spec(0, weight=3), spec(1), trials=10, early_stopping=5)
    job.measured = {f"task1/{at}": 1e-3 / (at + 2) for at in range(100)}
    job.run()
    assert job.brain.tasks["task0"].charged < 10 < job.brain.tasks["task1"].charged
    assert job.brain.ledger.charged == 20


def test_a_trial_let_go_early_is_charged_and_brings_nothing() -> None:
    job = farm(trials=2)
    job.measured = {"task0/0": None, "task0/1": None}
    assert winners_of(job) == {}
    task = job.brain.tasks["task0"]
    assert (task.charged, task.valid, task.since_better) == (2, 2, 2)


# ---- what earlier jobs found


def test_incumbents_are_measured_again_beside_the_first_round_without_a_trial() -> None:
    job = farm(spec(0, incumbents=("old/0", "old/1")), trials=2)
    job.measured = {"old/1": 1e-5}
    assert winners_of(job) == {"task0": "old/1"}
    assert job.brain.ledger.charged == 2
    assert job.brain.measurements == 3 + 4


@pytest.mark.parametrize("incumbents", [(), ("old/0",)])
def test_the_default_schedule_is_checked_where_what_was_known_did_not_hold(incumbents: tuple[str, ...]) -> None:
    job = farm(spec(0, incumbents=incumbents), spec(1), max_trials=0)
    job.measured = {"old/0": None}
    assert winners_of(job) == {}
    compared = [names for wanted in job.told_of(ins.Compare) for names in _finalists(wanted)]
    assert compared == ([[BASELINE]] if incumbents else [])


def _finalists(wanted: ins.Instruction) -> list[list[str]]:
    assert isinstance(wanted, ins.Compare)
    return [[finalist.identity for finalist in group.finalists] for _, group in wanted.groups]


def test_a_task_that_is_tuned_enough_gets_its_incumbents_measured_and_no_first_round() -> None:
    job = farm(spec(0, incumbents=("old/0",), known=4), spec(1), max_trials=1)
    job.measured = {"old/0": 1e-5}
    winners_of(job)
    assert job.brain.finals.winners["task0"] == "old/0"
    assert job.brain.tasks["task0"].charged == 0
    assert job.brain.tasks["task1"].charged == 1


def test_a_job_whose_budget_earlier_jobs_have_spent_says_so() -> None:
    known = [replace(spec(at, incumbents=(f"old/{at}",), known=8), known_seconds=1e-3) for at in range(2)]
    job = farm(*known, trials=8)
    job.measured = {"old/0": 1e-5, "old/1": 1e-5}
    assert winners_of(job) == {"task0": "old/0", "task1": "old/1"}
    assert (job.brain.ledger.budget, job.brain.ledger.charged) == (0, 0)
    assert any(note.startswith("2 of 2 tasks were tuned enough by earlier jobs") for note in job.brain.notes)


def test_incumbents_are_kept_where_time_is_spent_before_a_first_round() -> None:
    job = farm(spec(0, incumbents=("old/0",)))
    job.measured = {"old/0": 1e-5}
    job.tell(ev.TimeSpent())
    assert winners_of(job) == {"task0": "old/0"}
    assert job.brain.ledger.charged == 0


def test_an_incumbent_that_search_finds_again_is_no_trial() -> None:
    job = farm(spec(0, incumbents=("old/0",)), trials=3)
    job.step()
    job.tell(ev.Proposed(1, ("old/0", BASELINE), 0.0))
    builds = [wanted.identity for wanted in job.told if isinstance(wanted, ins.Build)]
    assert builds == [BASELINE, "old/0"]
    assert job.brain.ledger.reserved == 0
    assert not job.brain.tasks["task0"].exhausted


def test_a_candidate_that_was_tried_is_not_charged_again() -> None:
    job = farm(trials=5)
    job.run_until(JobState.TUNING)
    job.step()
    # Search loses its memory: its next three are the first two over again, and one that is new.
    job.proposed.clear()
    job.run()
    assert job.charged == [("task0", f"task0/{at}") for at in range(5)]
    assert job.brain.ledger.charged == 5


# ---- let go early


def test_only_rounds_without_the_default_schedule_may_let_slow_candidates_go() -> None:
    job = farm(trials=8)
    job.measured = {BASELINE: 4e-3, "task0/0": 2e-3}
    job.run()
    rounds = job.told_of(ins.Measure)
    assert [each.give_up for each in rounds if isinstance(each, ins.Measure)][:2] == [None, 3 * 1e-3]
    first = rounds[0]
    assert isinstance(first, ins.Measure)
    assert BASELINE in [item.identity for item in first.items]


def test_a_candidate_that_was_let_go_is_a_valid_trial_never_the_best_and_known_to_search_for_slow() -> None:
    job = farm()
    job.measured = {"task0/2": None}
    job.run()
    task = job.brain.tasks["task0"]
    assert (task.charged, task.valid, task.failed) == (4, 4, 0)
    assert "task0/2" not in task.measured
    observed = dict(pair for each in job.told if isinstance(each, ins.Observe) for pair in each.results)
    assert observed["task0/2"] == 1.0


# ---- losses, lateness


def test_a_suspicion_goes_with_its_item_and_a_measurement_made_again_is_counted_apart() -> None:
    job = farm(max_trials=1)
    job.step()
    job.tell(ev.Proposed(1, ("a",), 0.0))
    for index, name in enumerate(("default", "a")):
        job.tell(ev.BuildEnded(1, index, artifact_of(name), None, 0.0))
    job.tell(ev.ItemSuspected(1, 1, 1))
    (measure,) = job.brain.outstanding()
    assert isinstance(measure, ins.Measure)
    assert [item.suspicions for item in measure.items] == [0, 1]
    job.tell(ev.ItemSuspected(1, 1, 0))
    (measure,) = job.brain.outstanding()
    assert isinstance(measure, ins.Measure)
    assert [item.suspicions for item in measure.items] == [0, 0]
    job.tell(ev.ItemMeasured(1, 1, samples=(1e-3,), remeasured=2))
    assert job.brain.measurements == 2
    assert job.brain.ledger.charged == 1


def test_a_task_whose_first_trial_was_lost_keeps_its_turn() -> None:
    """Its trial comes back while the rest of its round is still under way: no other task may take it meanwhile."""
    job = farm(spec(0, flops=1e9), spec(1), max_trials=2)
    job.step()
    lost = ev.Failure("DEVICE_LOST", "cable")
    first, second = 1, 2
    job.tell(ev.Proposed(first, ("a",), 0.0))
    job.tell(ev.Proposed(second, ("b",), 0.0))
    for round_ in (first, second):
        for index, name in enumerate(("default", "new")):
            job.tell(ev.BuildEnded(round_, index, artifact_of(name), None, 0.0))
    job.tell(ev.ItemMeasured(second, 1, failure=lost))
    job.tell(ev.ItemMeasured(first, 0, samples=(1e-3,)))
    assert job.tell(ev.ItemMeasured(first, 1, samples=(1e-3,))) == [
        ins.Observe("task0", ((BASELINE, 1e-3), ("a", 1e-3)))
    ]
    asked = job.tell(ev.ItemMeasured(second, 0, samples=(1e-3,)))
    assert asked[1:] == [ins.Propose(3, "task1", 1)]


@pytest.mark.parametrize("kind", ["DEVICE_LOST", "CANCELLED"])
def test_a_lost_trial_is_refunded_and_spent_on_another(kind: str) -> None:
    job = farm()
    job.measured = {"task0/1": ev.Failure(kind, "cable")}
    job.run()
    assert job.brain.ledger.charged == 4
    assert job.brain.tasks["task0"].failed == 0
    assert dict(job.brain.failures) == {}
    assert ("task0", "task0/1") not in job.charged


def test_failures_are_counted_by_kind() -> None:
    job = farm()
    job.measured = {"task0/1": WRONG, "task0/2": ev.Failure("RUN_ERROR", "signal 11")}
    job.builds = {"task0/3": ev.Failure("BUILD_TIMEOUT", "60 s")}
    job.run()
    assert dict(job.brain.failures) == {"WRONG_OUTPUT": 1, "RUN_ERROR": 1, "BUILD_TIMEOUT": 1}
    assert job.brain.valid_trials == 1


def test_a_late_benchmark_loss_does_not_end_a_job_that_is_tuning() -> None:
    job = farm()
    job.run_until(JobState.TUNING)
    assert job.brain.handle(ev.BenchmarkLost("cable")) == []
    assert job.brain.state is JobState.TUNING


def test_a_lost_benchmark_ends_the_job() -> None:
    job = farm()
    job.run_until(JobState.BENCHMARKING)
    job.tell(ev.BenchmarkLost("cable"))
    assert job.brain.error == ("INTERNAL", "the package could not be benchmarked: cable")


def test_a_package_with_wrong_output_fails_the_job() -> None:
    job = farm()
    job.run_until(JobState.BENCHMARKING)
    job.tell(ev.Benchmarked((), 0.5, matches=False, message="output 0 is off by 0.5", device="board"))
    assert job.brain.state is JobState.FAILED
    assert job.brain.error == ("WRONG_OUTPUT", "output 0 is off by 0.5")


def test_a_stage_that_cannot_be_done_ends_the_job() -> None:
    job = farm()
    job.run_until(JobState.TUNING)
    assert job.tell(ev.StageFailed("NO_DEVICE", "no device for llvm"))[0] == ins.WithdrawAll()
    assert job.brain.error == ("NO_DEVICE", "no device for llvm")
    assert job.brain.ledger.reserved == 0


def test_nothing_moves_a_job_that_has_ended() -> None:
    job = farm()
    job.tell(ev.CancelRequested(""))
    assert job.brain.state is JobState.CANCELLED
    assert job.brain.notes == []
    for event in (ev.CancelRequested("again"), ev.TimeSpent(), ev.Packaged(1.0), ev.StageFailed("INTERNAL", "x")):
        assert job.brain.handle(event) == []
    assert job.brain.state is JobState.CANCELLED


def test_estimated_latency_is_the_weighted_sum_once_every_task_was_measured() -> None:
    job = farm(spec(0, weight=3), spec(1))
    job.measured = {"task0/0": 1e-4, "task1/0": 2e-4}
    job.step()
    assert job.brain.estimated_seconds is None
    job.run_until(JobState.VERIFYING)
    assert job.brain.estimated_seconds == pytest.approx(3 * 1e-4 + 2e-4)


def test_estimated_latency_is_the_first_shape_sets() -> None:
    job = farm(replace(spec(0, weight=3), weights=(1, 2)), replace(spec(1, weight=5), weights=(0, 5)))
    job.measured = {"task0/0": 1e-4, "task1/0": 2e-4}
    job.run_until(JobState.VERIFYING)
    assert job.brain.estimated_seconds == pytest.approx(1e-4)


def test_of_two_that_come_out_equal_the_one_that_was_faster_before_wins() -> None:
    """As the schedule store has it: a package holds what the store calls best."""
    job = farm(trials=2)
    job.measured = {BASELINE: 5e-3, "task0/0": 2e-3, "task0/1": 1e-3}
    job.compared = {"task0/0": 1.5e-3, "task0/1": 1.5e-3}
    assert winners_of(job) == {"task0": "task0/1"}


def test_a_winner_that_was_dropped_inside_the_model_is_compared_again_when_the_job_goes_on() -> None:
    """The schedule store calls it best until it has lost a comparison."""
    job = farm(trials=1, finalists=1)
    job.measured = FASTER
    job.in_model = {"task0": ((1.1e-3,), (1.0e-3,))}
    assert packages_of(job)[-1] == {}
    job.measured = {**FASTER, "task0/0": 1.9e-3, "task0/1": 1e-3}
    job.tell(ev.Resumed("on", trials_per_kernel=2))
    job.run()
    [(_, group)] = [wanted.groups for wanted in job.told if isinstance(wanted, ins.Compare)][-1]
    assert {finalist.identity for finalist in group.finalists} == {"task0/0", "task0/1", BASELINE}
