"""A job as users see it: the contract's `Job`."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tunefarm_coordinator.control.benchmarking import ONNXRUNTIME, TUNED, UNTUNED, latency_ms, mean_ms, spread_ms
from tunefarm_coordinator.control.job import tuning_options
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.jobs.events import ModelTiming
from tunefarm_coordinator.jobs.state import JobState
from tunefarm_coordinator.jobs.task import TaskState
from tunefarm_proto.v1 import common_pb2, tuning_pb2

# What follows the last trial, roughly: finals, package, benchmark.
FINAL_SECONDS = 20.0
# Of a kernel, in what a watcher is sent again and again.
REPORTED_NODES = 16
KEPT_PACKAGE = "the package is the one from before the job went on"


def job_message(runner: JobRunner) -> tuning_pb2.Job:
    """The job as it is now."""
    brain, sheet = runner.brain, runner.sheet
    job = tuning_pb2.Job(
        job_id=sheet.job_id,
        state=f"JOB_STATE_{brain.state.value}",
        spec=_spec(runner),
        target=sheet.target,
        tuner=sheet.tuner,
        model_name=sheet.model_name,
        measurements=brain.measurements,
        tasks=[_task(task) for task in brain.tasks.values()],
        trials_per_second=runner.trials_per_second,
        has_package=brain.state.terminal and runner.packaged,
        created=timestamp(sheet.created),
        sequence=runner.sequence,
        notes=[*brain.notes, *_notes(runner)],
    )
    job.trials.CopyFrom(_trials(runner))
    job.seconds.CopyFrom(_seconds(runner))
    if runner.ended is not None:
        job.ended.CopyFrom(timestamp(runner.ended))
    if brain.estimated_seconds is not None:
        job.estimated_latency_ms = brain.estimated_seconds * 1e3
    if runner.trials_per_second > 0:
        left = brain.ledger.budget - brain.ledger.charged
        job.seconds_left = left / runner.trials_per_second + FINAL_SECONDS
    if brain.error is not None:
        kind, message = brain.error
        message += _way_on(runner, kind)
        job.error.CopyFrom(tuning_pb2.JobError(kind=f"JOB_ERROR_KIND_{kind}", message=message))
    _add_benchmark(job, runner)
    _add_shape_sets(job, runner)
    return job


def _spec(runner: JobRunner) -> tuning_pb2.JobSpec:
    """What was asked for, with the options that count: defaults filled in, and the totals of the last resumption."""
    spec = tuning_pb2.JobSpec()
    spec.CopyFrom(runner.sheet.spec)
    options = tuning_options(spec)
    now = runner.brain.options
    if isinstance(options, tuning_pb2.AutoTVMOptions):
        options.kernel_trials = now.trials_per_kernel
    else:
        options.trials_per_kernel = now.trials_per_kernel
    getattr(spec, runner.sheet.tuner).CopyFrom(options)
    if now.max_trials is not None:
        spec.max_trials = now.max_trials
    return spec


def _way_on(runner: JobRunner, kind: str) -> str:
    """What to do once the cause is mended, where that is not the model's and anything is left to spend."""
    brain = runner.brain
    if kind not in ("NO_DEVICE", "NO_VALID_TRIAL") or (brain.tasks and not brain.ledger.free):
        return ""
    return f"; once that is mended, `tunefarm job resume {runner.sheet.job_id}` goes on with what is left of the budget"


def _notes(runner: JobRunner) -> list[str]:
    """What the brain does not know of."""
    job_id = runner.sheet.job_id
    notes = [f"waiting: {runner.store_trouble}"] if runner.store_trouble else []
    if runner.waits_since is not None:
        notes.append(f"interrupted: `tunefarm job resume {job_id}` goes on with it")
    if runner.packaged and runner.brain.state.terminal and runner.brain.state is not JobState.SUCCEEDED:
        notes.append(KEPT_PACKAGE)
    return notes


def timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromtimestamp(seconds, UTC))
    return stamp


def _task(task: TaskState) -> tuning_pb2.TaskProgress:
    return tuning_pb2.TaskProgress(
        workload=task.workload,
        name=task.spec.name,
        weight=task.weight,
        charged=task.charged,
        valid=task.valid,
        failed=task.failed,
        baseline_seconds=task.baseline_seconds,
        best_seconds=task.best_seconds,
        weights=task.spec.weights,
        nodes=task.spec.nodes[:REPORTED_NODES],
    )


def _trials(runner: JobRunner) -> tuning_pb2.Trials:
    ledger = runner.brain.ledger
    return tuning_pb2.Trials(
        budget=ledger.budget,
        charged=ledger.charged,
        valid=runner.brain.valid_trials,
        in_flight=ledger.reserved,
        failed=dict(runner.brain.failures),
        refunded=ledger.refunded,
    )


def _seconds(runner: JobRunner) -> tuning_pb2.StageSeconds:
    spent = runner.brain.seconds
    until = runner.ended or runner.waits_since or time.time()
    total = until - runner.sheet.created - runner.idle
    stages = {stage: spent.get(stage, 0.0) for stage in ("prepare", "search", "build", "measure", "package")}
    return tuning_pb2.StageSeconds(total=total, **stages)


def _add_benchmark(job: tuning_pb2.Job, runner: JobRunner) -> None:
    benchmark = runner.brain.benchmark
    if benchmark is None:
        return
    job.device = benchmark.device
    if benchmark.max_rel_error is not None:
        job.max_rel_error = benchmark.max_rel_error
    _add_latencies(job.latency_ms, benchmark.timings)


def _add_shape_sets(job: tuning_pb2.Job, runner: JobRunner) -> None:
    """Nothing where there is one set: the job says it of itself. A set not benchmarked yet has its shapes alone."""
    sets = runner.sheet.shape_sets
    if len(sets) == 1:
        return
    measured = runner.brain.benchmark.sets if runner.brain.benchmark is not None else ()
    for at, shapes in enumerate(sets):
        result = job.shape_sets.add(shapes=shape_set(shapes))
        if at < len(measured):
            _add_latencies(result.latency_ms, measured[at].timings)
            result.device = measured[at].device
            error = measured[at].max_rel_error
            if error is not None:
                result.max_rel_error = error


def _add_latencies(message: tuning_pb2.LatencyMs, timings: Iterable[ModelTiming]) -> None:
    for timing in timings:
        if timing.name not in (TUNED, UNTUNED, ONNXRUNTIME) or not timing.samples:
            continue
        setattr(message, timing.name, latency_ms(timing.samples))
        setattr(message, f"{timing.name}_mean", mean_ms(timing.samples))
        if timing.first is not None:
            setattr(message, f"{timing.name}_first", timing.first * 1e3)
        spread = spread_ms(timing.samples)
        if spread is not None:
            setattr(message, f"{timing.name}_spread", spread)


def shape_set(shapes: Mapping[str, Sequence[int]]) -> common_pb2.ShapeSet:
    """The shapes of all inputs on the wire."""
    return common_pb2.ShapeSet(inputs={name: common_pb2.Shape(dims=shape) for name, shape in shapes.items()})
