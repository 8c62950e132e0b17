"""Samples, a frozen input and a forced size, from the command line to a package that runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.programs import document, tunefarm
from tests.unit.models.graphs import random_weights

pytestmark = pytest.mark.slow


def save_lookup(path: Path) -> Path:
    """For two sentences of twelve ids: vectors of 64, a dense layer, folded to a shape that is an input."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["g"], "look up"),
        helper.make_node("MatMul", ["g", "w"], ["d"], "dense"),
        helper.make_node("Relu", ["d"], ["r"], "relu"),
        helper.make_node("Reshape", ["r", "shape"], ["y"], "fold"),
    ]
    graph = helper.make_graph(
        nodes,
        "lookup",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, [2, 12]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(random_weights(500, 64, seed=1), "table"),
            numpy_helper.from_array(random_weights(64, 64, seed=2), "w"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_samples_frozen_and_forced_inputs(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "package"
    model = save_lookup(tmp_path / "lookup.onnx")
    ids = np.arange(16, dtype=np.int64).reshape(2, 1, 8) + 400
    samples: dict[str, Any] = {"ids/0": ids[0], "ids/1": ids[1]}
    np.savez(tmp_path / "samples.npz", **samples)
    common = [str(model), "--json", "--trials-per-kernel", "1", "--out", str(out)]
    said = ["--samples", str(tmp_path / "samples.npz"), "--freeze", "shape=4,128", "--force-input", "ids=1,8"]
    done = tunefarm(home, "tune", *common, *said)
    assert done.returncode == 0, done.stderr
    assert document(done)["state"] == "SUCCEEDED"
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["inputs"] == [{"name": "ids", "dtype": "int64", "shape": [1, 8]}]
    assert manifest["outputs"][0]["shape"] == [4, 128]
    assert (manifest["frozen_inputs"], manifest["forced_inputs"]) == (["shape"], ["ids"])
    with np.load(out / "inputs.npz") as kept:
        assert np.array_equal(kept["ids"], ids[0])
    ran = subprocess.run([sys.executable, "run.py"], cwd=out, capture_output=True, text=True, check=False, timeout=120)
    assert "y: float32 (4, 128)" in ran.stdout, ran.stderr

    # Without the constant the end of the model stays ONNX, and a note says what helps.
    planned = tunefarm(home, "plan", str(model), "--json")
    assert planned.returncode == 0, planned.stderr
    helps = "Reshape at node fold takes its shape from input 'shape': fix it with --freeze shape=VALUE"
    assert any(helps in note for note in document(planned)["notes"])
