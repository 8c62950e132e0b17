"""What sizes decide is decided before the simplifier sees it."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.unit.models.operators.answers import assert_same, model_of


def test_padding_as_pytorch_exports_it(tmp_path: Path) -> None:
    """The pads come from sizes, and are turned round pair by pair: last axis first becomes first axis first."""
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 2, 5, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Shape", ["r"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "three"], ["width"]),
        helper.make_node("Sub", ["width", "five"], ["one"]),
        helper.make_node("Div", ["one", "two"], ["half"]),
        helper.make_node("Sub", ["one", "half"], ["rest"]),
        helper.make_node("Unsqueeze", ["half", "zero"], ["before"]),
        helper.make_node("Unsqueeze", ["rest", "zero"], ["after"]),
        helper.make_node("Concat", ["before", "after", "before", "after"], ["given"], axis=0),
        helper.make_node("ConstantOfShape", ["four"], ["zeros"], value=numpy_helper.from_array(np.array([0]))),
        helper.make_node("Concat", ["given", "zeros"], ["all"], axis=0),
        helper.make_node("Reshape", ["all", "pairs"], ["paired"]),
        helper.make_node("Slice", ["paired", "last", "before_first", "zero", "last"], ["turned"]),
        helper.make_node("Transpose", ["turned"], ["by_side"], perm=[1, 0]),
        helper.make_node("Reshape", ["by_side", "last"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["pads"], to=TensorProto.INT64),
        helper.make_node("Pad", ["r", "pads"], ["y"], mode="edge"),
    ]
    weights = {
        "three": np.array(3),
        "five": np.array(5),
        "two": np.array(2),
        "zero": np.array([0]),
        "four": np.array([4]),
        "pairs": np.array([-1, 2]),
        "last": np.array([-1]),
        "before_first": np.array([-(2**63) + 1]),
    }
    model = model_of(nodes, {"x": pixels}, {"y": TensorProto.FLOAT}, weights, opset=17)
    assert_same(model, {"x": pixels}, tmp_path)
