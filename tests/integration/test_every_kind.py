"""Models of kinds that take more than one path of the pipeline, each by the command that a user types."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tests.cases.detectors import nms_head
from tests.programs import assert_nothing_left, document, tunefarm
from tests.tiny_models import save_tiny_cnn

pytestmark = pytest.mark.slow
OPTIONS = ("--trials-per-kernel", "1", "--json", "--out")


def run_py(package: Path, *arguments: str) -> str:
    """What a package's `run.py` prints."""
    command = [sys.executable, "run.py", *arguments]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_detector_whose_end_stays_onnx(home: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "detector.onnx", tmp_path / "package"
    onnx.save(nms_head(), path)
    done = tunefarm(home, "tune", str(path), *OPTIONS, str(out))
    result = document(done)
    assert (done.returncode, result["state"]) == (0, "SUCCEEDED"), done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert any("NonMaxSuppression at node nms" in note for note in manifest["notes"])
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    run_py(out, "--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz"))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["y"], session.run(["y"], {"x": x})[0])
    assert "and the end of the model: " in run_py(out)
    assert_nothing_left(home)


def test_a_float16_network(home: Path, tmp_path: Path) -> None:
    path, out = halved(save_tiny_cnn(tmp_path / "tiny.onnx")), tmp_path / "package"
    done = tunefarm(home, "tune", str(path), *OPTIONS, str(out))
    result = document(done)
    assert (done.returncode, result["state"]) == (0, "SUCCEEDED"), done.stderr
    assert result["max_rel_error"] < 1e-2
    manifest = json.loads((out / "manifest.json").read_text())
    assert {spec["dtype"] for spec in (*manifest["inputs"], *manifest["outputs"])} == {"float16"}
    assert "float16" in run_py(out)


def halved(path: Path) -> Path:
    """The float32 model at `path` in float16, written in its place."""
    model = onnx.load(path)
    for at, tensor in enumerate(model.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            model.graph.initializer[at].CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, path)
    return path
