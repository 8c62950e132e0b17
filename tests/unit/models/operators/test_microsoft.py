"""ONNX Runtime's own operators on floats, against ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import assert_same, model_of
from tunefarm_coordinator.models.operators.microsoft import DOMAIN

RANDOM = np.random.default_rng(0)


def _floats(*shape: int) -> Any:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


X = _floats(1, 4, 16)
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "Attention": (["x", "w", "b", "mask"], {"num_heads": 2}),
    "MultiHeadAttention": (["x", "k", "k", "", "mask"], {"num_heads": 2}),
    "RotaryEmbedding": (["x", "at", "cos", "sin"], {"num_heads": 2}),
    "SkipLayerNormalization": (["x", "k", "scale", "", "scale"], {"epsilon": 1e-5}),
    "SkipSimplifiedLayerNormalization": (["x", "k", "scale"], {"epsilon": 1e-5}),
    "FusedMatMul": (["x", "square"], {"transB": 1, "alpha": 0.5}),
    "BiasGelu": (["x", "scale"], {}),
    "FastGelu": (["x", "scale"], {}),
    "QuickGelu": (["x"], {}),
}
WEIGHTS = {
    "w": _floats(16, 48),
    "b": _floats(48),
    "k": _floats(1, 4, 16),
    "mask": np.array([[1, 1, 0, 1]], np.int32),
    "at": np.array([[3, 0, 1, 2]]),
    "cos": _floats(8, 4),
    "sin": _floats(8, 4),
    "scale": _floats(16),
    "square": _floats(16, 16),
}


@pytest.mark.parametrize("name", list(CASES))
def test_as_onnx_runtime_does_it(name: str, tmp_path: Path) -> None:
    inputs, attributes = CASES[name]
    node = helper.make_node(name, inputs, ["y"], domain=DOMAIN, **attributes)
    weights = {key: WEIGHTS[key] for key in inputs if key in WEIGHTS}
    assert_same(model_of([node], {"x": X}, {"y": TensorProto.FLOAT}, weights), {"x": X}, tmp_path)
