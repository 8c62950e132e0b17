"""Schedules for GPUs compute what their kernels say: TVM's CUDA source of each, run on the fake GPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_cuda import FakeCuda


@pytest.mark.timeout(600)
def test_products_and_convolutions_are_right_whatever_their_tile(tmp_path: Path) -> None:
    gpu = FakeCuda(tmp_path / "gpu")
    command = [sys.executable, "-m", "tests.gpu_products", "nvcc"]
    done = subprocess.run(command, env=gpu.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    schedules = json.loads(done.stdout)
    wrong = [s for s in schedules if s["error"] is None or s["error"] > (4e-3 if "half" in s["kernel"] else 1e-5)]
    assert not wrong
    assert len({schedule["kernel"] for schedule in schedules}) == 13
    for what in ("fragments", "ahead", "parts"):
        # Among them are tensor cores, copies ahead and split sums, and others.
        assert {schedule[what] for schedule in schedules} == {True, False}, what
    on_tensor_cores = {schedule["kernel"] for schedule in schedules if schedule["fragments"]}
    assert on_tensor_cores == {"half: 3x3", "half: 7x7 on an image", "half: dense", "half: batches"}
