"""The search side of a job, where the model that it was begun with is prepared another way now."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tunefarm_coordinator.compute.messages import Checked, CheckModel, PreparedSummary, PrepareModel
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_proto.v1 import tuning_pb2


class Compute:
    """Prepares one kernel, under the version "8", and finds nothing wrong with it."""

    async def ask(self, request: PrepareModel | CheckModel) -> PreparedSummary | Checked:
        if isinstance(request, CheckModel):
            return Checked()
        task = TuningTask("8-new", "conv", 1, "{}", 1.0)
        return PreparedSummary(request.target, "NHWC", "8", (task,), {"8-new": "[]"}, (), ())


async def test_a_job_that_another_version_began_says_so(tmp_path: Path) -> None:
    sheet = JobSheet("job", tuning_pb2.JobSpec(model_id="m"), Path("m.onnx"), "m", ({},), "{}", 0.0)
    services = cast(Services, SimpleNamespace(compute=Compute(), folders=Folders(tmp_path)))
    stage = TuningStage(cast(JobRunner, SimpleNamespace(sheet=sheet)), services)
    with pytest.raises(InvalidInput, match=r"7-old is no kernel .* \(pipeline version 8\).*start a new one"):
        await stage.expected("7-old")
