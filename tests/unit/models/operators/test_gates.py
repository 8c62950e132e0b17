"""Gates without a division answer as those with one."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import assert_same, model_of
from tunefarm_coordinator.models.importer import importable_form

node = helper.make_node
NUMBERS = np.linspace(-5, 5, 240, dtype=np.float32).reshape(2, 120)
WEIGHTS = {name: np.float32(value) for name, value in (("three", 3), ("zero", 0), ("six", 6))}
GATE = [node("Add", ["x", "three"], ["s"]), node("Clip", ["s", "zero", "six"], ["c"])]


def _model(*nodes: onnx.NodeProto, weights: dict[str, Any] = WEIGHTS) -> onnx.ModelProto:
    return model_of(nodes, {"x": NUMBERS}, {"y": TensorProto.FLOAT}, weights)


def _operators(model: onnx.ModelProto) -> list[str]:
    return [it.op_type for it in importable_form(Path("model.onnx"), model).graph.node]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("HardSwish", ["x"], ["y"])],
        [*GATE, node("Mul", ["x", "c"], ["m"]), node("Div", ["m", "six"], ["y"])],
        [*GATE, node("Div", ["c", "six"], ["d"]), node("Mul", ["x", "d"], ["y"])],
    ],
)
def test_hard_swish_answers_as_before_without_a_division(nodes: list[onnx.NodeProto], tmp_path: Path) -> None:
    model = _model(*nodes)
    assert "Div" not in _operators(model)
    assert_same(model, {"x": NUMBERS}, tmp_path, 1e-6)


def test_what_counts_is_divided() -> None:
    # 49 times one over 49 is a little less than 1.
    weights = {"many": np.float32(49)}
    assert "Div" in _operators(_model(node("Div", ["x", "many"], ["d"]), node("Floor", ["d"], ["y"]), weights=weights))
