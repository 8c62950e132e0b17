"""Operators that are several of the standard's in one, against ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import assert_same, model_of
from tunefarm_coordinator.errors import InvalidInput

RANDOM = np.random.default_rng(0)
MICROSOFT, ML = "com.microsoft", "ai.onnx.ml"


def _floats(*shape: int) -> Any:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


IMAGE, ROWS = _floats(1, 3, 9, 8), _floats(5, 6)
WEIGHTS = {"w": _floats(4, 3, 3, 3), "b": _floats(4), "z": _floats(1, 4, 9, 8), "m": _floats(7, 6), "s": _floats(7)}
_LINES = {"coefficients": [0.5, -1.0, 2.0, 0.1, 0.0, 3.0] * 2, "intercepts": [1.0, -1.0], "targets": 2}

Case = tuple[str, str, Any, list[str], dict[str, Any]]

CASES: dict[str, Case] = {
    "convolution": (MICROSOFT, "FusedConv", IMAGE, ["w", "b"], {"activation": "Relu", "pads": [1] * 4}),
    "strided_convolution": (
        MICROSOFT,
        "FusedConv",
        IMAGE,
        ["w"],
        {"activation": "LeakyRelu", "activation_params": [0.2], "strides": [2, 2]},
    ),
    "convolution_and_sum": (MICROSOFT, "FusedConv", IMAGE, ["w", "b", "z"], {"activation": "Tanh", "pads": [1] * 4}),
    "clipped_convolution": (
        MICROSOFT,
        "FusedConv",
        IMAGE,
        ["w", "b"],
        {"activation": "Clip", "activation_params": [-0.3, 0.6]},
    ),
    "hard_convolution": (
        MICROSOFT,
        "FusedConv",
        IMAGE,
        ["w", "b"],
        {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
    ),
    "product": (MICROSOFT, "FusedGemm", ROWS, ["m", "s"], {"activation": "Relu", "transB": 1, "alpha": 0.5}),
    "leaking_product": (
        MICROSOFT,
        "FusedGemm",
        ROWS,
        ["m", "s"],
        {"activation": "LeakyRelu", "activation_alpha": 0.3, "transB": 1},
    ),
    "scaled_columns": (ML, "Scaler", ROWS, [], {"offset": [1.0, 2, 3, 4, 5, 6], "scale": [0.5, 1, 2, 3, 4, 5]}),
    "scaled_counts": (ML, "Scaler", np.arange(12).reshape(2, 6), [], {"offset": [1.0], "scale": [0.5]}),
    "lines": (ML, "LinearRegressor", ROWS, [], _LINES),
    "line": (ML, "LinearRegressor", ROWS, [], {"coefficients": [0.5, -1.0, 2.0, 0.1, 0.0, 3.0]}),
}


@pytest.mark.parametrize("name", CASES)
def test_as_onnx_runtime_does_it(name: str, tmp_path: Path) -> None:
    domain, operator, x, others, attributes = CASES[name]
    nodes = [
        helper.make_node(operator, ["x", *others], ["n"], domain=domain, **attributes),
        helper.make_node("Neg", ["n"], ["y"]),
    ]
    weights = {other: WEIGHTS[other] for other in others}
    assert_same(model_of(nodes, {"x": x}, {"y": TensorProto.FLOAT}, weights), {"x": x}, tmp_path)


def test_what_is_not_known_how_to_take_apart_is_named(tmp_path: Path) -> None:
    """A regressor that ends with a softmax."""
    nodes = [
        helper.make_node("LinearRegressor", ["x"], ["n"], "lines", domain=ML, post_transform="SOFTMAX", **_LINES),
        helper.make_node("MatMul", ["n", "w"], ["y"]),
    ]
    model = model_of(nodes, {"x": ROWS}, {"y": TensorProto.FLOAT}, {"w": _floats(2, 8)})
    with pytest.raises(InvalidInput, match="LinearRegressor at lines"):
        assert_same(model, {"x": ROWS}, tmp_path)
