"""Weights that no sum can show cost nothing."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import assert_same, model_of
from tunefarm_coordinator.models.prepare import load_prepared
from tunefarm_coordinator.models.tiny_weights import cleared


def test_what_is_denormal_or_nearly_so_and_unseen_is_cleared() -> None:
    weights = np.array([1.0, -1e-39, 1e-30, -1e-20, 0.0, 3.0], np.float32)
    np.testing.assert_array_equal(cleared(weights), np.array([1.0, 0, 0, -1e-20, 0, 3.0], np.float32))
    endless = np.array([np.inf, 1e-29, np.nan, 1e-39, 2e-28], np.float32)
    np.testing.assert_array_equal(cleared(endless), np.array([np.inf, 1e-29, np.nan, 0, 2e-28], np.float32))
    # Nothing is small beside weights that are all small.
    small = np.array([1e-30, -2e-29, 1e-39], np.float32)
    np.testing.assert_array_equal(cleared(small), np.array([1e-30, -2e-29, 0], np.float32))


def test_others_are_left_as_they_are() -> None:
    for weights in (np.ones(3, np.float32), np.full(3, 1e-7, np.float16), np.zeros((0, 2), np.float32)):
        assert cleared(weights) is weights


def test_weights_of_convolutions_and_products(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    weights = {
        "w": draw.uniform(-1, 1, (8, 4, 3, 3)).astype(np.float32),
        "m": draw.uniform(-1, 1, (8, 6)).astype(np.float32),
        "table": np.full(6, 1e-39, np.float32),
    }
    weights["w"][3:] *= np.float32(1e-39)
    weights["m"][:, 2] *= np.float32(1e-33)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["k"]),
        helper.make_node("Add", ["k", "table"], ["y"]),
    ]
    inputs = {"x": draw.uniform(-1, 1, (1, 4, 7, 7)).astype(np.float32)}
    assert_same(model_of(nodes, inputs, {"y": TensorProto.FLOAT}, weights), inputs, tmp_path)
    tiny = np.finfo(np.float32).tiny
    denormal = [
        int(((np.abs(each) < tiny) & (each != 0)).sum())
        for each in load_prepared(tmp_path / "prepared").weights()
        if each.size > 6
    ]
    assert len(denormal) == 2
    assert not any(denormal)
