"""How long a job may take, from the pace of jobs like it."""

from tunefarm_coordinator.control.pace import MOST_JOBS, FinishedJob, Pace, pace_of


def test_nothing_was_measured() -> None:
    assert pace_of([]) is None
    assert pace_of([FinishedJob(0, 20.0, 5.0), FinishedJob(5, 20.0, 0.0)]) is None


def test_trials_and_what_comes_with_every_job_are_counted_apart() -> None:
    pace = pace_of([FinishedJob(100, 70.0, 50.0), FinishedJob(20, 20.0, 10.0)])
    assert pace == Pace(2.0, 15.0, 2)
    assert pace.estimate(200, None) == 115.0


def test_no_trial_starts_after_the_time_limit() -> None:
    pace = Pace(2.0, 15.0, 1)
    assert pace.estimate(200, 30.0) == 45.0
    assert pace.estimate(20, 30.0) == 25.0


def test_only_the_last_jobs_count() -> None:
    recent = [FinishedJob(10, 10.0, 10.0)] * MOST_JOBS
    assert pace_of([*recent, FinishedJob(1000, 10.0, 10.0)]) == Pace(1.0, 0.0, MOST_JOBS)
