"""The budget on recorded trials of real jobs: `tests/benchmarks/replay_policies.py` has the whole comparison."""

import math
from statistics import fmean

import pytest

from tests.recording import RecordedTask, Recording, load
from tests.replay import Replayed, replay
from tunefarm_coordinator.jobs.options import JobOptions, Tuner

HELD_OUT = "nmp"
TRIALS_PER_KERNEL = 16
NEVER = 1_000_000


def job(recording: Recording, tuner: Tuner, seed: int = 0) -> Replayed:
    return replay(recording, JobOptions(TRIALS_PER_KERNEL, early_stopping=NEVER, tuner=tuner), seed)


@pytest.mark.parametrize("tuner", ["autoscheduler", "autotvm"])
def test_a_recorded_job_spends_its_budget_to_the_trial_and_reaches_every_task_first(tuner: Tuner) -> None:
    recording = load(HELD_OUT)
    replayed = job(recording, tuner)
    depths = {task.name: len(task.trials) for task in recording.tasks}
    # Some spaces are smaller than an equal share. Under Auto-scheduler others get what those leave.
    budget = TRIALS_PER_KERNEL * len(depths)
    if tuner == "autotvm":
        budget = sum(min(TRIALS_PER_KERNEL, depth) for depth in depths.values())
    assert sum(replayed.charged.values()) == budget == len(replayed.latency) - 1
    assert all(replayed.charged.values())
    assert replayed.first_rounds_first
    assert all(later <= earlier * 1.1 for earlier, later in zip(replayed.latency, replayed.latency[1:], strict=False))


def test_dynamic_ends_no_slower_than_uniform_on_a_recording_that_it_was_not_tuned_on() -> None:
    recording = load(HELD_OUT)
    ratios = [job(recording, "autoscheduler", seed).at(1) / job(recording, "autotvm", seed).at(1) for seed in range(5)]
    assert fmean(math.log(ratio) for ratio in ratios) <= 0


def test_a_replay_is_the_same_for_a_seed_and_another_for_another() -> None:
    recording = load(HELD_OUT)
    assert job(recording, "autoscheduler") == job(recording, "autoscheduler")
    assert job(recording, "autoscheduler") != job(recording, "autoscheduler", seed=1)


def test_latency_is_that_of_what_was_measured_and_never_of_a_trial_that_is_still_to_come() -> None:
    """On a task whose last trial is by far the fastest, half of the trials can't know it."""
    trials = (2.0,) * 31 + (0.5,)
    late = Recording("late", "llvm", (RecordedTask("late", 3, 1.0, 2.0, trials),))
    replayed = replay(late, JobOptions(32, early_stopping=NEVER), seed=0)
    assert replayed.at(0.5) == pytest.approx(6.0)
    assert replayed.at(1) == pytest.approx(1.5)
