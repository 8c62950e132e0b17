"""A job with two shape sets, end to end, as a user runs it: a recogniser of text lines in two widths."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.programs import assert_nothing_left, document, tunefarm
from tests.tiny_models import save_recogniser

WIDTHS = (32, 96)


@pytest.mark.slow
def test_one_command_two_widths(home: Path, tmp_path: Path) -> None:
    model, out = save_recogniser(tmp_path / "recogniser.onnx"), tmp_path / "package"
    sets = [word for width in WIDTHS for word in ("--shape-set", f"image=1,3,16,{width}")]
    common = [str(model), *sets, "--pad", "image=0.5", "--trials-per-kernel", "1", "--out", str(out), "--json"]
    done = tunefarm(home, "tune", *common)
    result = document(done)
    assert done.returncode == 0, done.stderr
    assert (result["state"], result["trials"]["budget"]) == ("SUCCEEDED", len(result["tasks"]))
    check_tasks(result["tasks"])
    measured = result["shape_sets"]
    assert [each["shapes"]["image"][3] for each in measured] == list(WIDTHS)
    assert all(each["latency_ms"][name] > 0 for each in measured for name in ("tuned", "untuned", "onnxruntime"))
    assert max(each["max_rel_error"] for each in measured) == result["max_rel_error"] < 1e-3
    assert measured[0]["latency_ms"] == result["latency_ms"]
    assert_nothing_left(home)
    check_package(out)
    for width in (*WIDTHS, 48):
        check_answer(model, out, width, tmp_path)


def check_tasks(tasks: list[dict[str, Any]]) -> None:
    """Kernels of the convolutions differ by width; those of the pooled features are the same, and one task."""
    weights = [tuple(task["weights"]) for task in tasks]
    assert {(1, 0), (0, 1), (1, 1)} == set(weights)
    assert all(task["weight"] == sum(task["weights"]) for task in tasks)


def check_package(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["padding"] == {"image": 0.5}
    assert [each["latency_ms"]["tuned"] > 0 for each in manifest["shape_sets"]] == [True, True]
    # Every winner was timed inside the model of each set that has it.
    for task in manifest["tasks"]:
        if task["schedule"] == "tuned":
            assert 0 < task["seconds_in_model"]["tuned"] < 1.5 * task["seconds_in_model"]["default"]


def check_answer(model: Path, out: Path, width: int, folder: Path) -> None:
    """`run.py` answers as ONNX Runtime does on the input as it was padded."""
    image = np.random.default_rng(width).uniform(-1, 1, (1, 3, 16, width)).astype(np.float32)
    np.savez(folder / "in.npz", image=image)
    command = [sys.executable, str(out / "run.py"), "--inputs", str(folder / "in.npz")]
    command += ["--outputs", str(folder / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    whole = np.full((1, 3, 16, next(size for size in WIDTHS if size >= width)), 0.5, np.float32)
    whole[..., :width] = image
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    text, script = session.run(["text", "script"], {"image": whole})
    with np.load(folder / "out.npz") as outputs:
        assert outputs["text"].shape == (1, width // 4, 40)
        np.testing.assert_allclose(outputs["text"], text[:, : width // 4], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(outputs["script"], script, rtol=1e-3, atol=1e-4)
