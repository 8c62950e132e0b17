"""Schedules for GPUs compute what their kernels say: TVM's CUDA source of each, run on the fake GPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_cuda import FakeCuda

# The greatest error, relative to the greatest value, by the kind of product; plain ones are float32.
_BOUNDS = {"half": 4e-3, "bfloat": 1e-2, "tf32": 2e-3}
# What float32 itself is not off by.
_ROUNDED = 1e-5


def _bound(schedule: dict[str, Any]) -> float:
    return _BOUNDS.get(schedule["kernel"].split(":")[0], _ROUNDED)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_products_and_convolutions_are_right_whatever_their_tile(tmp_path: Path) -> None:
    gpu = FakeCuda(tmp_path / "gpu")
    # Two of each kernel here, since all of them are compiled; more on a GPU.
    command = [sys.executable, "-m", "tests.gpu_products", "nvcc", "1"]
    done = subprocess.run(command, env=gpu.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    schedules = json.loads(done.stdout)
    wrong = [s for s in schedules if s["error"] is None or s["error"] > _bound(s)]
    assert not wrong
    assert len({schedule["kernel"] for schedule in schedules}) == 27
    for what in ("fragments", "ahead", "parts"):
        # Among them are tensor cores, copies ahead and split sums, and others.
        assert {schedule[what] for schedule in schedules} == {True, False}, what
    on_tensor_cores = {schedule["kernel"] for schedule in schedules if schedule["fragments"]}
    half = {"half: 3x3", "half: 7x7 on an image", "half: dense", "half: batches"}
    tf32 = {"tf32: 3x3", "tf32: 7x7 on an image", "tf32: batches", "tf32: long sums"}
    assert on_tensor_cores == half | {"bfloat: 3x3", "bfloat: dense"} | tf32
    assert all(schedule["error"] > _ROUNDED for schedule in schedules if schedule["kernel"] in tf32)
