"""What can't be served of one shape set is told with the set."""

from pathlib import Path

import pytest

from tunefarm_coordinator.compute.messages import Checked, CheckModel, PreparedSummary, PrepareModel
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.preparing import prepare
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_proto.v1 import tuning_pb2

NARROW, WIDE = {"x": (1, 16)}, {"x": (1, 64)}


async def compute(request: PrepareModel | CheckModel) -> PreparedSummary | Checked:
    """Finds wide models wrong."""
    if isinstance(request, PrepareModel):
        return PreparedSummary(request.target, "NHWC", "1", (), {}, (), ())
    if request.reference.shapes == WIDE:
        raise InvalidInput("node 'add' is off by 7")
    return Checked()


@pytest.mark.parametrize(
    ("sets", "said"),
    [((WIDE,), r"^node 'add' is off by 7"), ((NARROW, WIDE), r"^shape set 2 \(x=1,64\): node 'add' is off by 7")],
)
async def test_a_set_that_is_wrong(sets: tuple[dict[str, tuple[int, ...]], ...], said: str, tmp_path: Path) -> None:
    sheet = JobSheet("job", tuning_pb2.JobSpec(model_id="m"), Path("m.onnx"), "m", sets, "{}", 0.0)
    with pytest.raises(InvalidInput, match=said):
        await prepare(compute, sheet, Folders(tmp_path))
