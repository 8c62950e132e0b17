"""A job rebuilt from its journal: what the brain knows nothing of is the time."""

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.unit.schedules.schedule_examples import DEVICES, WORKLOAD, job, model, record
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.report import job_message
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.schedules.changes import AddCandidates, AddRecords, CandidateTrace, JournalEntry
from tunefarm_coordinator.schedules.store import Store
from tunefarm_proto.v1 import tuning_pb2

CREATED = 1000.0


async def _ignore(_: JobRunner) -> None:
    return None


def rebuilt(*happened: tuple[float, ev.Event], max_seconds: float | None = None) -> JobRunner:
    """A job created at 1000 s; `happened`: (Unix time, event)."""
    sheet = JobSheet("job-1", tuning_pb2.JobSpec(max_seconds=max_seconds), Path("m.onnx"), "m", ({},), "{}", CREATED)
    runner = JobRunner(sheet, cast(Store, None), _ignore)
    runner.replay(JournalEntry(at + 1, when, event.kind, ev.encode(event)) for at, (when, event) in enumerate(happened))
    return runner


FAILED = ev.StageFailed("INTERNAL", "no")


@pytest.mark.parametrize(
    ("happened", "limit", "left"),
    [
        ([], None, None),
        ([], 50.0, 40.0),
        ([(1002.0, FAILED), (1005.0, ev.Resumed("a"))], 50.0, 45.0),
        ([(1002.0, FAILED), (1005.0, ev.Resumed("a", max_seconds=7.0))], 50.0, 2.0),
        ([(1002.0, FAILED), (1005.0, ev.Resumed("a", max_seconds=7.0))], None, 2.0),
        # The job's own limit counts again where the last resumption gave none.
        (
            [
                (1001.0, FAILED),
                (1002.0, ev.Resumed("a", max_seconds=1.0)),
                (1003.0, FAILED),
                (1004.0, ev.Resumed("b")),
            ],
            50.0,
            44.0,
        ),
        ([(1002.0, FAILED), (1003.0, ev.Resumed("a", max_seconds=7.0))], 50.0, 0.0),
    ],
)
def test_time_counts_from_the_last_resumption(
    happened: list[tuple[float, ev.Event]], limit: float | None, left: float | None
) -> None:
    assert rebuilt(*happened, max_seconds=limit).time_left(1010.0) == left


def test_what_lay_still_is_not_counted() -> None:
    runner = rebuilt((1005.0, FAILED), (2000.0, ev.Resumed("a")), (2010.0, FAILED))
    job = job_message(runner)
    assert job.seconds.total == 15.0
    assert job.ended.ToSeconds() == 2010
    assert job.state == tuning_pb2.JOB_STATE_FAILED


def test_an_interrupted_job_says_how_to_go_on() -> None:
    runner = rebuilt((1005.0, FAILED), (1006.0, ev.Resumed("a")))
    runner.leave()
    job = job_message(runner)
    assert job.seconds.total == 5.0
    assert "tunefarm job resume job-1" in job.notes[-1]
    assert not job.HasField("ended")


def test_the_totals_of_the_last_resumption_are_the_jobs() -> None:
    resumed = ev.Resumed("a", trials_per_kernel=7, max_trials=9)
    job = job_message(rebuilt((1005.0, FAILED), (1006.0, resumed)))
    assert (job.spec.autoscheduler.trials_per_kernel, job.spec.max_trials) == (7, 9)
    assert job.spec.autoscheduler.early_stopping_threshold == 250
    assert not job.has_package


def test_median_and_mean_of_a_benchmark_are_told_apart() -> None:
    runner = rebuilt()
    tuned = ev.ModelTiming("tuned", (1e-3, 2e-3, 6e-3))
    runner.brain.benchmark = ev.Benchmarked((tuned, ev.ModelTiming("onnxruntime")), 0.0, True, "", "cpu0")
    latency = job_message(runner).latency_ms
    assert latency.tuned == pytest.approx(2.0)
    assert latency.tuned_mean == pytest.approx(3.0)
    assert not latency.HasField("onnxruntime_mean")


async def test_an_outcome_that_can_not_be_written_is_refused_alone(tmp_path: Path) -> None:
    """Two come together, in one write; the record of one is none that the store takes."""
    bad = replace(record(identity="c2"), conditions={"temperature": math.nan})
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        for change in (model(), job("job-1"), DEVICES):
            store.write(change).result()
        store.write(AddCandidates(tuple(CandidateTrace(WORKLOAD, name, "[]") for name in ("c1", "c2")))).result()
        sheet = JobSheet("job-1", tuning_pb2.JobSpec(), Path("m.onnx"), "m", ({},), "{}", CREATED)
        runner = JobRunner(sheet, store, _ignore)
        runner.start(_nothing, idle=True)
        answers = await asyncio.gather(
            *(
                runner.record(ev.ItemMeasured(1, at, samples=(1e-3,)), AddRecords((each,)))
                for at, each in enumerate((record(identity="c1"), bad))
            ),
            return_exceptions=True,
        )
        await runner.stop()
        assert answers[0] is None
        assert isinstance(answers[1], InvalidInput)
        assert [(entry.seq, entry.payload["index"]) for entry in store.events("job-1")] == [(1, 0)]
        assert runner.sequence == 1


async def _nothing(_: ins.Instruction) -> None:
    return None
