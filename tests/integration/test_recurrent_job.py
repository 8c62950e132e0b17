"""Recurrent models end to end, each by one command on one coordinator: a long LSTM (a loop) and a short GRU."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.programs import agent, assert_nothing_left, coordinator, document, tunefarm

pytestmark = pytest.mark.slow

GATES = {"LSTM": 4, "GRU": 3}
FEATURES, HIDDEN = 32, 64


def save(kind: str, steps: int, path: Path) -> Path:
    """A bidirectional layer over `steps` steps, and a classifier of its last states."""
    random = np.random.default_rng(0)
    sizes = {
        "w": (2, GATES[kind] * HIDDEN, FEATURES),
        "r": (2, GATES[kind] * HIDDEN, HIDDEN),
        "b": (2, 2 * GATES[kind] * HIDDEN),
        "dense": (HIDDEN, 10),
    }
    weights = {name: random.uniform(-0.2, 0.2, size).astype(np.float32) for name, size in sizes.items()}
    layer = helper.make_node(
        kind, ["x", "w", "r", "b"], ["steps", "state"], hidden_size=HIDDEN, direction="bidirectional"
    )
    graph = helper.make_graph(
        [layer, helper.make_node("MatMul", ["state", "dense"], ["classes"])],
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (steps, 1, FEATURES))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("steps", "classes")],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_recurrent_models_by_one_command_each(home: Path, tmp_path: Path) -> None:
    with coordinator(home) as (_, address), agent(home, address) as board:
        board.wait_for("attached")
        for kind, steps in (("LSTM", 30), ("GRU", 6)):
            model, out = save(kind, steps, tmp_path / f"{kind}.onnx"), tmp_path / kind
            common = [str(model), "--connect", address, "--trials-per-kernel", "1", "--out", str(out), "--json"]
            done = tunefarm(home, "tune", *common)
            assert done.returncode == 0, (kind, done.stderr)
            result = document(done)
            assert (result["state"], result["trials"]["failed"]) == ("SUCCEEDED", {}), kind
            assert result["max_rel_error"] < 1e-3, kind
    assert_nothing_left(home)
