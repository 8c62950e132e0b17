"""Whose values a refusal comes from: the input that a node's sizes, axes or counts are made of."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.unit.models.test_input_ranges import model, node
from tunefarm_coordinator.models.refused_inputs import freeze_hint, suspects

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


@pytest.mark.parametrize(
    ("nodes", "hint"),
    [
        ([node("Reshape", "x n", "y", name="r")], "Reshape at node r takes its shape from input 'n'"),
        ([node("TopK", "x n", "y i", name="best")], "TopK at node best takes its k from input 'n'"),
        ([node("CumSum", "x n", "y")], r"CumSum at node (output y) takes its axis from input 'n'"),
        (
            [node("Resize", "x roi scales", "y", name="up")],
            "Resize at node up takes its scales from input 'scales'",
        ),
        # However it is made of the input.
        (
            [
                node("Cast", "n", "c", to=INT64),
                node("Shape", "x", "s"),
                node("Concat", "c s", "k", axis=0),
                node("Slice", "x k k", "y", name="cut"),
            ],
            "Slice at node cut takes its starts from input 'n'",
        ),
        # Sizes are known, and data is no constant.
        ([node("Shape", "x", "s"), node("Reshape", "x s", "y")], None),
        ([node("NonZero", "x", "z"), node("Reshape", "x z", "y")], None),
        ([node("Gather", "x n", "y")], None),
    ],
)
def test_what_to_freeze(nodes: list[onnx.NodeProto], hint: str | None) -> None:
    inputs = {"x": (FLOAT, [2, 6]), "n": (INT64, [1]), "scales": (FLOAT, [2])}
    found = freeze_hint(model(nodes, inputs, {"roi": np.zeros(0, np.float32)}))
    name = hint.split("'")[1] if hint else None
    assert found == (hint and f"{hint}: fix it with --freeze {name}=VALUE")


def test_of_several_the_node_that_failed_is_told() -> None:
    nodes = [node("Reshape", "x a", "r", name="first"), node("Reshape", "r b", "y", name="second")]
    inputs: dict[str, Any] = {"x": (FLOAT, [2, 6]), "a": (INT64, [1]), "b": (INT64, [2])}
    graph = model(nodes, inputs)
    assert "from input 'a'" in str(freeze_hint(graph))
    assert "from input 'b'" in str(freeze_hint(graph, "Reshape at node second can't be imported"))


def test_whose_values_a_node_that_failed_has() -> None:
    nodes = [
        node("Add", "a b", "i", name="sum"),
        node("Gather", "t i", "g", name="look up"),
        node("Add", "g x", "y", name="last"),
    ]
    inputs = {"x": (FLOAT, [4, 3, 4]), "b": (INT64, [4]), "a": (INT64, [4]), "c": (INT64, [4])}
    graph = model(nodes, inputs, {"t": np.zeros((5, 4), np.float32)})
    assert suspects(graph, "running Gather node. Name:'look up' Status Message: out of bounds") == ["a", "b"]
    assert suspects(graph, "no node is named") == ["b", "a", "c"]
