"""The one place where wire messages become the client's values, and requests become wire messages."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tunefarm.found import FoundSchedule, FoundSchedules, FoundTask
from tunefarm.job import (
    Device,
    Job,
    JobError,
    JobState,
    Metrics,
    Plan,
    PlannedTask,
    ShapeSetResult,
    StageSeconds,
    TaskProgress,
    Trials,
)
from tunefarm.options import TUNERS, TuningOptions, tuner_of
from tunefarm.request import JobRequest, ResumeTotals, SentInputs
from tunefarm_proto.v1 import common_pb2, farm_pb2, schedule_pb2, tuning_pb2


def job_spec(request: JobRequest, trace_id: str) -> tuning_pb2.JobSpec:
    """The request on the wire; an option that was not given is left unset."""
    spec = tuning_pb2.JobSpec(
        model_id=request.model_id,
        targets=[common_pb2.TargetSpec(text=request.target)],
        project=request.project,
        owner=request.owner,
        name=request.name,
        priority=request.priority,
        labels=dict(request.labels),
        trace_id=trace_id,
        max_trials=request.max_trials,
        max_seconds=request.max_seconds,
        seed=request.seed,
        allow_tf32=request.allow_tf32,
        exact_math=request.exact_math,
        without_reference=request.without_reference,
        input_padding=dict(request.inputs.padding),
    )
    for shapes in request.shape_sets:
        inputs = {name: common_pb2.Shape(dims=dims) for name, dims in shapes.items()}
        spec.shape_sets.append(common_pb2.ShapeSet(inputs=inputs))
    if request.tuning is not None:
        _set_tuning(spec, request.tuning)
    _set_inputs(spec, request.inputs)
    return spec


def resume_request(job_id: str, totals: ResumeTotals, key: str) -> tuning_pb2.ResumeJobRequest:
    """The wish to go on with a job; a total that was not given is left unset."""
    return tuning_pb2.ResumeJobRequest(idempotency_key=key, job_id=job_id, **dataclasses.asdict(totals))


def _set_tuning(spec: tuning_pb2.JobSpec, tuning: TuningOptions) -> None:
    given = {name: getattr(tuning, name) for name in tuning.given}
    message = getattr(spec, tuner_of(tuning))
    message.SetInParent()  # which one is set picks the tuner, also with nothing in it
    message.MergeFrom(type(message)(**given))


def _set_inputs(spec: tuning_pb2.JobSpec, inputs: SentInputs) -> None:
    spec.input_samples = inputs.samples
    spec.forced_inputs.extend(inputs.forced)
    for name, (low, high) in inputs.ranges.items():
        spec.input_ranges[name].CopyFrom(tuning_pb2.InputRange(low=low, high=high))
    for name, text in inputs.frozen_json.items():
        spec.frozen_inputs[name].CopyFrom(tuning_pb2.FrozenInput(json=text))
    for name, values_id in inputs.frozen_files.items():
        spec.frozen_inputs[name].CopyFrom(tuning_pb2.FrozenInput(values_id=values_id))


def found_from(wire: schedule_pb2.FoundSchedules) -> FoundSchedules:
    """What the store has for a model."""
    return FoundSchedules(
        target=wire.target,
        device_class=wire.device_class,
        pipeline_version=wire.pipeline_version,
        tasks=tuple(_found_task(task) for task in wire.tasks),
        notes=tuple(wire.notes),
    )


def _found_task(wire: schedule_pb2.FoundTask) -> FoundTask:
    return FoundTask(
        workload=wire.workload,
        name=wire.name,
        weight=wire.weight,
        flops=wire.flops,
        nodes=tuple(wire.nodes),
        records=wire.records,
        default_seconds=wire.default_seconds if wire.HasField("default_seconds") else None,
        schedules=tuple(_found_schedule(schedule) for schedule in wire.schedules),
    )


def _found_schedule(wire: schedule_pb2.FoundSchedule) -> FoundSchedule:
    record = wire.record
    return FoundSchedule(
        record_id=record.record_id,
        candidate_id=record.candidate_id,
        trace=record.trace,
        seconds=statistics.median(record.seconds),
        verified=wire.verified,
        default_schedule=wire.default_schedule,
        # What came from TVM's own databases says no time: it is of the Unix epoch.
        measured=record.created.ToDatetime(datetime.UTC) if record.created.seconds > 0 else None,
        job_id=record.job_id,
        project=record.project,
        device_fingerprint=record.device_fingerprint,
        agent_id=record.agent_id,
    )


def plan_from(wire: tuning_pb2.Plan) -> Plan:
    """A plan's values."""
    return Plan(
        target=wire.target,
        tuner=wire.tuner,
        tasks=tuple(_planned_task(task) for task in wire.tasks),
        budget=wire.budget,
        layout=wire.layout,
        pipeline_version=wire.pipeline_version,
        notes=tuple(wire.notes),
        options=_planned_options(wire),
        estimated_seconds=wire.estimated_seconds if wire.HasField("estimated_seconds") else None,
        trials_per_second=wire.trials_per_second if wire.HasField("trials_per_second") else None,
        measured_jobs=wire.measured_jobs,
        allow_tf32=wire.allow_tf32,
        exact_math=wire.exact_math,
        shape_sets=tuple(_shapes(each) for each in wire.shape_sets),
    )


def _planned_task(wire: tuning_pb2.PlannedTask) -> PlannedTask:
    return PlannedTask(
        workload=wire.workload,
        name=wire.name,
        weight=wire.weight,
        flops=wire.flops,
        known_records=wire.known_records,
        first_round_trials=wire.first_round_trials,
        template=wire.template,
        trials=wire.trials if wire.HasField("trials") else None,
        weights=tuple(wire.weights),
        nodes=tuple(wire.nodes),
    )


def _shapes(wire: common_pb2.ShapeSet) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape.dims) for name, shape in sorted(wire.inputs.items())}


def _planned_options(wire: tuning_pb2.Plan) -> TuningOptions | None:
    which = wire.WhichOneof("tuning")
    if which is None:
        return None
    return TUNERS[which](**{field.name: value for field, value in getattr(wire, which).ListFields()})


def job_from(wire: tuning_pb2.Job) -> Job:
    """A job's values; what is absent on the wire is None."""
    return Job(
        job_id=wire.job_id,
        state=_state(wire.state),
        name=wire.spec.name,
        model_name=wire.model_name,
        project=wire.spec.project,
        target=wire.target,
        tuner=wire.tuner,
        device=wire.device,
        trials=_trials(wire.trials),
        measurements=wire.measurements,
        tasks=tuple(_task(task) for task in wire.tasks),
        estimated_latency_ms=_optional(wire, "estimated_latency_ms"),
        trials_per_second=wire.trials_per_second,
        seconds_left=_optional(wire, "seconds_left"),
        metrics=_metrics(wire),
        shape_sets=tuple(ShapeSetResult(_shapes(each.shapes), _metrics(each), each.device) for each in wire.shape_sets),
        seconds=_seconds(wire.seconds),
        error=_error(wire),
        has_package=wire.has_package,
        created=_moment(wire.created) if wire.HasField("created") else None,
        ended=_moment(wire.ended) if wire.HasField("ended") else None,
        sequence=wire.sequence,
        notes=tuple(wire.notes),
    )


def wire_state(state: JobState) -> tuning_pb2.JobState:
    """The contract's number of a state."""
    number: tuning_pb2.JobState = getattr(tuning_pb2, f"JOB_STATE_{state}")
    return number


def _state(number: tuning_pb2.JobState) -> JobState:
    try:
        return JobState(tuning_pb2.JobState.Name(number).removeprefix("JOB_STATE_"))
    except ValueError:  # a newer coordinator's state
        return JobState.UNSPECIFIED


def _trials(wire: tuning_pb2.Trials) -> Trials:
    failed = {kind.removeprefix("FAILURE_KIND_"): n for kind, n in sorted(wire.failed.items())}
    return Trials(wire.budget, wire.charged, wire.valid, wire.in_flight, failed, wire.refunded)


def _task(wire: tuning_pb2.TaskProgress) -> TaskProgress:
    return TaskProgress(
        wire.workload,
        wire.name,
        wire.weight,
        wire.charged,
        wire.valid,
        wire.failed,
        baseline_seconds=wire.baseline_seconds if wire.HasField("baseline_seconds") else None,
        best_seconds=wire.best_seconds if wire.HasField("best_seconds") else None,
        weights=tuple(wire.weights),
        nodes=tuple(wire.nodes),
    )


def _metrics(wire: tuning_pb2.Job | tuning_pb2.ShapeSetResult) -> Metrics:
    latency = wire.latency_ms
    values = {
        field.name: getattr(latency, field.name) if latency.HasField(field.name) else None
        for field in latency.DESCRIPTOR.fields
    }
    return Metrics(
        latency_median_ms=values["tuned"],
        untuned_latency_median_ms=values["untuned"],
        onnxruntime_latency_median_ms=values["onnxruntime"],
        latency_mean_ms=values["tuned_mean"],
        untuned_latency_mean_ms=values["untuned_mean"],
        onnxruntime_latency_mean_ms=values["onnxruntime_mean"],
        latency_spread_ms=values["tuned_spread"],
        untuned_latency_spread_ms=values["untuned_spread"],
        onnxruntime_latency_spread_ms=values["onnxruntime_spread"],
        max_rel_error=_optional(wire, "max_rel_error"),
        first_call_ms=values["tuned_first"],
        untuned_first_call_ms=values["untuned_first"],
        onnxruntime_first_call_ms=values["onnxruntime_first"],
    )


def _seconds(wire: tuning_pb2.StageSeconds) -> StageSeconds:
    names = [field.name for field in dataclasses.fields(StageSeconds)]
    return StageSeconds(**{name: getattr(wire, name) for name in names})


def _error(wire: tuning_pb2.Job) -> JobError | None:
    if not wire.HasField("error"):
        return None
    try:
        kind = tuning_pb2.JobErrorKind.Name(wire.error.kind).removeprefix("JOB_ERROR_KIND_")
    except ValueError:  # a newer coordinator's kind
        kind = "UNSPECIFIED"
    return JobError(kind, wire.error.message)


def device_from(wire: common_pb2.DeviceStatus) -> Device:
    """A device's values."""
    return Device(
        device_id=wire.device.device_id,
        agent_id=wire.agent_id,
        name=wire.device.name,
        fingerprint=wire.device.fingerprint,
        target=wire.device.target,
        state=common_pb2.DeviceState.Name(wire.state).removeprefix("DEVICE_STATE_"),
        reason=wire.reason,
        running=wire.running,
        measured=wire.measured,
        failed=wire.failed,
        last_seen=_moment(wire.last_seen) if wire.HasField("last_seen") else None,
        device_class=wire.device_class,
        labels=dict(wire.device.labels),
        facts=dict(wire.device.facts),
        temperature=wire.temperature if wire.HasField("temperature") else None,
        trials_per_second=wire.trials_per_second,
        reference_seconds=wire.reference_seconds if wire.HasField("reference_seconds") else None,
        remeasured=wire.remeasured,
    )


def devices_from(wire: farm_pb2.ListDevicesResponse) -> list[Device]:
    """One page of devices."""
    return [device_from(status) for status in wire.devices]


def _optional(wire: tuning_pb2.Job | tuning_pb2.ShapeSetResult, name: Any) -> float | None:
    value: float = getattr(wire, name)
    return value if wire.HasField(name) else None


def _moment(wire: Timestamp) -> datetime.datetime:
    moment: datetime.datetime = wire.ToDatetime(tzinfo=datetime.UTC)
    return moment
