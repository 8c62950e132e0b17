"""What sizes decide is decided before the simplifier sees it."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import assert_same, model_of


def test_padding_as_pytorch_exports_it(tmp_path: Path) -> None:
    """The pads come from sizes, and are turned round pair by pair: last axis first becomes first axis first."""
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 2, 5, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "three"], ["width"]),
        helper.make_node("Sub", ["width", "five"], ["one"]),
        helper.make_node("Concat", ["zero", "one", "zero", "one", "zeros"], ["given"], axis=0),
        helper.make_node("Reshape", ["given", "pairs"], ["paired"]),
        helper.make_node("Slice", ["paired", "last", "before_first", "zero", "last"], ["turned"]),
        helper.make_node("Transpose", ["turned"], ["by_side"], perm=[1, 0]),
        helper.make_node("Reshape", ["by_side", "last"], ["pads"]),
        helper.make_node("Pad", ["x", "pads"], ["y"], mode="edge"),
    ]
    weights = {
        "three": np.array([3]),
        "five": np.array([5]),
        "zero": np.array([0]),
        "zeros": np.zeros(4, np.int64),
        "pairs": np.array([-1, 2]),
        "last": np.array([-1]),
        "before_first": np.array([-(2**63) + 1]),
    }
    model = model_of(nodes, {"x": pixels}, {"y": TensorProto.FLOAT}, weights, opset=17)
    assert_same(model, {"x": pixels}, tmp_path)
