"""Whole models on a GPU: kernels launched as graphs, and one by one for timing each. The device is fake, TVM's virtual
machine, its CUDA runtime and the kernels are real."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.fake_cuda import FakeCuda
from tests.gpu_model import CALLS, images
from tunefarm_coordinator.models.gpu_executable import ENTRY, ENTRY_BY_KERNEL


def _script(gpu: FakeCuda, *arguments: str) -> str:
    command = [sys.executable, "-m", "tests.gpu_model", *arguments]
    done = subprocess.run(command, env=gpu.environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def _run(gpu: FakeCuda, folder: Path, entry: str) -> tuple[dict[str, Any], int]:
    """What the model said, and how many graphs were launched."""
    gpu.mend()
    return json.loads(_script(gpu, "run", str(folder), entry)), gpu["graph_launches"]


@pytest.mark.timeout(600)
def test_graphs_and_single_kernels_compute_the_same(tmp_path: Path) -> None:
    gpu = FakeCuda(tmp_path / "gpu")
    _script(gpu, "build", str(tmp_path))
    whole, graphs = _run(gpu, tmp_path, ENTRY)
    launches = gpu["launches"]
    single, none = _run(gpu, tmp_path, ENTRY_BY_KERNEL)
    # Captured in the first call, launched in each.
    assert (graphs >= CALLS - 1, none) == (True, 0)
    assert gpu["launches"] > launches
    assert whole["outputs"] == single["outputs"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for image, output in zip(images(), whole["outputs"], strict=True):
        np.testing.assert_allclose(output, session.run(None, {"image": image})[0], atol=1e-5)
    assert set(single["tasks"]) < set(single["seconds"])
    assert all(len(each) == 2 and min(each) > 0 for each in single["seconds"].values())
