"""The search side of a job, where the model is prepared another way now, or the store was pruned meanwhile."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tunefarm_coordinator.compute.messages import Checked, CheckModel, Observe, PreparedSummary, PrepareModel
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_proto.v1 import tuning_pb2


class Compute:
    """Prepares one kernel, under the version "8", and finds nothing wrong with it."""

    def __init__(self) -> None:
        self.observed: list[Observe] = []

    async def ask(self, request: PrepareModel | CheckModel | Observe) -> PreparedSummary | Checked | None:
        if isinstance(request, Observe):
            self.observed.append(request)
            return None
        if isinstance(request, CheckModel):
            return Checked()
        task = TuningTask("8-new", "conv", 1, "{}", 1.0)
        return PreparedSummary(request.target, "NHWC", "8", (task,), {"8-new": "[]"}, (), ())


class Runner:
    """Keeps what comes about."""

    def __init__(self) -> None:
        self.sheet = JobSheet("job", tuning_pb2.JobSpec(model_id="m"), Path("m.onnx"), "m", ({},), "{}", 0.0)
        self.events: list[ev.Event] = []

    async def record(self, event: ev.Event, *_changes: object) -> None:
        self.events.append(event)


def _stage(folder: Path, runner: Runner, compute: Compute, traces: dict[str, str]) -> TuningStage:
    store = SimpleNamespace(traces=lambda _workload, names: {name: traces[name] for name in names if name in traces})
    services = cast(Services, SimpleNamespace(compute=compute, folders=Folders(folder), store=store))
    return TuningStage(cast(JobRunner, runner), services)


async def test_a_job_that_another_version_began_says_so(tmp_path: Path) -> None:
    stage = _stage(tmp_path, Runner(), Compute(), {})
    with pytest.raises(InvalidInput, match=r"7-old is no kernel .* \(pipeline version 8\).*start a new one"):
        await stage.expected("7-old")


async def test_a_schedule_that_was_pruned_meanwhile_is_a_build_that_failed(tmp_path: Path) -> None:
    runner = Runner()
    stage = _stage(tmp_path, runner, Compute(), {})
    await stage.build(ins.Build(1, 2, "8-new", "gone"))
    (event,) = runner.events
    assert isinstance(event, ev.BuildEnded)
    assert (event.round, event.index, event.artifact) == (1, 2, None)
    assert event.failure is not None
    assert "pruned" in event.failure.message


async def test_search_is_told_of_what_is_left(tmp_path: Path) -> None:
    compute = Compute()
    stage = _stage(tmp_path, Runner(), compute, {"here": "[1]"})
    await stage.observe(ins.Observe("8-new", (("gone", 1.0), ("here", 2.0))))
    (request,) = compute.observed
    assert [(item.identity, item.seconds) for item in request.observations] == [("here", 2.0)]
