"""The untuned build of a model: once in a job, and while a device of its own has the finals."""

import asyncio
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunefarm_coordinator.compute.messages import Package, Packaged
from tunefarm_coordinator.control.benchmarking import MANIFEST
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.measuring import MeasuringStage
from tunefarm_coordinator.control.packaging import PackagingStage, in_model_results
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.jobs.events import KernelTiming
from tunefarm_proto.v1 import tuning_pb2

GPU, CPU = '{"kind": "cuda", "arch": "sm_90"}', '{"kind": "llvm"}'


class Compute:
    """Packages in no time."""

    def __init__(self) -> None:
        self.asked: list[Path] = []

    async def ask(self, request: Package) -> Packaged:
        self.asked.append(request.out_dir)
        await asyncio.sleep(0)
        request.out_dir.mkdir(parents=True)
        (request.out_dir / MANIFEST).write_text("{}")
        return Packaged(request.out_dir / "model.so", None, 3.0)


def stage(folders: Folders, compute: Compute, target: str) -> PackagingStage:
    sheet = JobSheet("job", tuning_pb2.JobSpec(model_id="m"), Path("m.onnx"), "m", ({},), target, 0.0)
    runner = SimpleNamespace(sheet=sheet, brain=SimpleNamespace(target=target))
    services = cast(Services, SimpleNamespace(folders=folders))
    return PackagingStage(cast(JobRunner, runner), services, cast(TuningStage, compute), cast(MeasuringStage, None))


async def test_all_comparisons_of_the_finals_bring_one_untuned_build(tmp_path: Path) -> None:
    folders, compute = Folders(tmp_path), Compute()
    packaging = stage(folders, compute, GPU)
    await asyncio.gather(packaging.begin(), packaging.begin())
    await packaging.begin()
    assert compute.asked == [folders.untuned("job")]
    # After a restart it is there.
    await stage(folders, compute, GPU).begin()
    assert len(compute.asked) == 1


async def test_a_cpu_that_measures_is_left_alone(tmp_path: Path) -> None:
    compute = Compute()
    await stage(Folders(tmp_path), compute, CPU).begin()
    assert compute.asked == []


@given(st.lists(st.tuples(st.floats(1e-7, 1e-2), st.floats(1e-7, 1e-2)), min_size=1, max_size=30))
def test_medians_of_what_is_stored_decide_as_finals_do(rounds: list[tuple[float, float]]) -> None:
    timing = KernelTiming("w", tuple(tuned for tuned, _ in rounds), tuple(default for _, default in rounds))
    (winner, tuned), (other, default) = in_model_results(timing, "c1", "default:w")
    assert (winner, other) == ("c1", "default:w")
    ratio = median(tuned / default for tuned, default in rounds)
    assert tuned.median / default.median == pytest.approx(ratio)
