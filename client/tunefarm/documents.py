"""The JSON documents that the commands print: their keys are a promise to scripts."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunefarm.found import FoundSchedules
from tunefarm.job import Device, Job, Metrics, Plan, ShapeSetResult

if TYPE_CHECKING:
    from tunefarm.metaschedule import ExportedDatabases
    from tunefarm.pruning import Pruned
    from tunefarm.retracting import Retracted
    from tunefarm.schedule_stats import ScheduleStats
    from tunefarm.schedules import Exported, Imported

Document = dict[str, Any]


def job_document(job: Job, package: str | None = None, history: Sequence[Document] | None = None) -> Document:
    """A job. `package`: the folder that this command wrote it to. `history`: how the estimated latency fell, where the
    command followed the job. Times in seconds but for latency_ms (medians), latency_mean_ms and first_call_ms."""
    metrics = job.metrics
    document: Document = {
        "job_id": job.job_id,
        "state": str(job.state),
        "tasks": [dataclasses.asdict(task) for task in job.tasks],
        "trials": {
            "budget": job.trials.budget,
            "charged": job.trials.charged,
            "valid": job.trials.valid,
            "failed": dict(job.trials.failed),
            "refunded": job.trials.refunded,
        },
        "measurements": job.measurements,
        **_latencies(metrics),
        "max_rel_error": metrics.max_rel_error,
        "seconds": dataclasses.asdict(job.seconds),
        "package": package,
    }
    if history is not None:
        document["history"] = list(history)
    if job.shape_sets:
        document["shape_sets"] = [_shape_set(each) for each in job.shape_sets]
    if job.error is not None:
        document["error"] = dataclasses.asdict(job.error)
    return document


def _latencies(metrics: Metrics) -> Document:
    return {
        "latency_ms": {
            "tuned": metrics.latency_median_ms,
            "untuned": metrics.untuned_latency_median_ms,
            "onnxruntime": metrics.onnxruntime_latency_median_ms,
        },
        "latency_mean_ms": {
            "tuned": metrics.latency_mean_ms,
            "untuned": metrics.untuned_latency_mean_ms,
            "onnxruntime": metrics.onnxruntime_latency_mean_ms,
        },
        "first_call_ms": {
            "tuned": metrics.first_call_ms,
            "untuned": metrics.untuned_first_call_ms,
            "onnxruntime": metrics.onnxruntime_first_call_ms,
        },
    }


def _shape_set(result: ShapeSetResult) -> Document:
    return {
        "shapes": dict(result.shapes),
        **_latencies(result.metrics),
        "max_rel_error": result.metrics.max_rel_error,
        "device": result.device,
    }


def jobs_document(jobs: Sequence[Job]) -> Document:
    """Several jobs, newest first, without their tasks."""
    return {
        "jobs": [
            {
                "job_id": job.job_id,
                "state": str(job.state),
                "name": job.name,
                "model": job.model_name,
                "project": job.project,
                "tuner": job.tuner,
                "trials": {"budget": job.trials.budget, "charged": job.trials.charged},
                "latency_ms": {"tuned": job.metrics.latency_median_ms},
                "created": _moment(job.created),
                "ended": _moment(job.ended),
            }
            for job in jobs
        ]
    }


def plan_document(plan: Plan) -> Document:
    """A plan; `budget` in trials."""
    return dataclasses.asdict(plan)


def found_document(found: FoundSchedules) -> Document:
    """What the store has for a model; seconds are of one call."""
    document = dataclasses.asdict(found)
    for task in document["tasks"]:
        for schedule in task["schedules"]:
            schedule["measured"] = _moment(schedule["measured"])
    return document


def devices_document(devices: Sequence[Device]) -> Document:
    """The devices of the farm."""
    listed = []
    for device in devices:
        document = dataclasses.asdict(device)
        document["last_seen"] = _moment(device.last_seen)
        listed.append(document)
    return {"devices": listed}


def exported_document(exported: Exported) -> Document:
    """What an export wrote; `size` in bytes."""
    return {**dataclasses.asdict(exported), "path": str(exported.path)}


def exported_databases_document(exported: ExportedDatabases) -> Document:
    """What an export for TVM wrote, and what it left out."""
    folders = [{**dataclasses.asdict(of), "path": str(of.path)} for of in exported.folders]
    return {**dataclasses.asdict(exported), "path": str(exported.path), "folders": folders}


def imported_document(imported: Imported) -> Document:
    """What came of an import; of what was set aside, the first 10,000 one by one."""
    return {
        "added": imported.added,
        "known": imported.known,
        "workloads": imported.workloads,
        "devices": imported.devices,
        "refused": {
            "count": imported.refused_count,
            "by_kind": {str(kind): count for kind, count in imported.refused_by_kind.items()},
            "items": [dataclasses.asdict(item) for item in imported.refused],
        },
    }


def stats_document(stats: ScheduleStats) -> Document:
    """What a store holds, in numbers."""
    return {**dataclasses.asdict(stats), "oldest": _moment(stats.oldest), "newest": _moment(stats.newest)}


def retracted_document(retracted: Retracted) -> Document:
    """How much was taken back, or would be."""
    return dataclasses.asdict(retracted)


def pruned_document(pruned: Pruned) -> Document:
    """How much went, or would go; sizes in bytes."""
    return {
        "records": pruned.records,
        "workloads": pruned.workloads,
        "traces": pruned.traces,
        "freed_bytes": pruned.freed,
        "returned_bytes": pruned.returned,
    }


def finite(value: Any) -> Any:
    """The document with what JSON can't say (infinity, not a number) as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _moment(moment: datetime.datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
