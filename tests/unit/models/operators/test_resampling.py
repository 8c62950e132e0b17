"""Resize as ONNX Runtime does it, where TVM's own is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import assert_same, model_of

PIXELS = np.random.default_rng(0).uniform(-1, 1, (1, 2, 5, 7)).astype(np.float32)


@pytest.mark.parametrize(
    ("scales", "attributes"),
    [
        ([1, 1, 2.3, 1.7], {"mode": "nearest"}),
        ([1, 1, 2.5, 0.6], {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
        ([1, 1, 0.5, 0.5], {"mode": "linear", "antialias": 1}),
    ],
)
def test_scales_that_are_not_whole(scales: list[float], attributes: dict[str, Any], tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    weights = {"scales": np.array(scales, np.float32)}
    model = model_of([node], {"x": PIXELS}, {"y": TensorProto.FLOAT}, weights)
    assert_same(model, {"x": PIXELS}, tmp_path)


def test_an_upsample_of_before_resize(tmp_path: Path) -> None:
    node = helper.make_node("Upsample", ["x", "scales"], ["y"], mode="linear")
    weights = {"scales": np.array([1, 1, 2, 3], np.float32)}
    model = model_of([node], {"x": PIXELS}, {"y": TensorProto.FLOAT}, weights, opset=9)
    assert_same(model, {"x": PIXELS}, tmp_path)
