"""Models go to channels-last form and answer as before: 1-d ones, transposed convolutions, what lies between."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.unit.models import graphs
from tests.unit.models.operators.answers import assert_same, model_of
from tunefarm_coordinator.models.prepare import load_prepared

_FLOAT = TensorProto.FLOAT


def _weights(*shape: int, seed: int = 0) -> Any:
    return graphs.random_weights(*shape, seed=seed)


def _transposed(name: str, window: list[int], **attributes: Any) -> tuple[Any, Any]:
    node = helper.make_node("ConvTranspose", ["x", f"w_{name}"], [name], kernel_shape=window, **attributes)
    return node, _weights(3, 5, *window, seed=len(name))


def test_transposed_convolutions_have_an_output_for_each_place_between_pixels(tmp_path: Path) -> None:
    made = [
        _transposed("whole", [2, 2], strides=[2, 2]),
        _transposed("cut", [4, 4], strides=[2, 2], pads=[1, 1, 1, 1]),
        _transposed("odd", [3, 5], strides=[2, 3], pads=[0, 2, 2, 1], output_padding=[1, 1]),
        _transposed("unstrided", [3, 3], pads=[1, 0, 1, 2]),
        _transposed("gaps", [1, 2], strides=[3, 4]),
        _transposed("sized", [3, 3], strides=[2, 2], output_shape=[9, 13]),
        _transposed("dilated", [2, 2], strides=[2, 1], dilations=[2, 2]),
    ]
    inputs = {"x": np.random.default_rng(0).uniform(-1, 1, (2, 3, 5, 7)).astype(np.float32)}
    nodes = [node for node, _ in made]
    weights = {node.input[1]: weight for node, weight in made}
    model = model_of(nodes, inputs, {node.output[0]: _FLOAT for node in nodes}, weights)
    assert_same(model, inputs, tmp_path)
    assert load_prepared(tmp_path / "prepared").layout == "NHWC"


def test_a_1d_network_goes_with_its_channels_last(tmp_path: Path) -> None:
    """Convolutions, batch norm that stands apart, pooling, slices, concatenation, upsampling and a product."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], strides=[2], pads=[2, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("BatchNormalization", ["r1", "gamma", "beta", "mean", "variance"], ["n1"]),
        helper.make_node("Slice", ["n1", "zero", "two", "axis"], ["head"]),
        helper.make_node("Concat", ["head", "n1"], ["joined"], axis=2),
        helper.make_node("Conv", ["joined", "w2"], ["c2"], group=6, dilations=[2]),
        helper.make_node("Mul", ["c2", "scale"], ["s2"]),
        helper.make_node("MaxPool", ["s2"], ["p2"], kernel_shape=[3], strides=[2]),
        helper.make_node("ConvTranspose", ["p2", "w3", "b3"], ["u3"], strides=[3], pads=[1, 0]),
        helper.make_node("Transpose", ["u3"], ["t3"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t3", "w4"], ["y"]),
        helper.make_node("ReduceMean", ["u3"], ["m"], axes=[2], keepdims=1),
    ]
    weights = {
        "w1": _weights(6, 2, 5),
        "b1": _weights(6, seed=1),
        "gamma": _weights(6, seed=2),
        "beta": _weights(6, seed=3),
        "mean": _weights(6, seed=4),
        "variance": np.abs(_weights(6, seed=5)) + 0.5,
        "zero": np.array([0]),
        "two": np.array([2]),
        "axis": np.array([2]),
        "w2": _weights(6, 1, 3, seed=6),
        "scale": _weights(6, 1, seed=7),
        "w3": _weights(6, 4, 5, seed=8),
        "b3": _weights(4, seed=9),
        "w4": _weights(4, 3, seed=10),
    }
    inputs = {"x": np.random.default_rng(1).uniform(-1, 1, (2, 2, 37)).astype(np.float32)}
    model = model_of(nodes, inputs, {"y": _FLOAT, "m": _FLOAT}, weights, opset=14)
    assert_same(model, inputs, tmp_path)
    prepared = load_prepared(tmp_path / "prepared")
    assert prepared.layout == "NHWC"
    # One for the input, none between the layers.
    names = [str(gvar.name_hint) for gvar in prepared.module().get_global_vars()]
    assert sum(name.startswith("transpose") for name in names) == 1, names


def test_grouped_convolutions_go_along_and_the_shuffle_between_them(tmp_path: Path) -> None:
    """Strides, gaps, padding on one side, filters of a group that no vector divides; a sum with what was before."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], group=3, pads=[1, 0, 2, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Reshape", ["r1", "cut"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "joined"], ["s"]),
        helper.make_node("Conv", ["s", "w2"], ["c2"], group=3, strides=[2, 1], dilations=[1, 2], pads=[1, 2, 1, 2]),
        helper.make_node("Conv", ["c2", "w3"], ["c3"], group=3),
        helper.make_node("Add", ["c3", "c2"], ["y"]),
    ]
    weights = {
        "w1": _weights(51, 2, 3, 3),
        "b1": _weights(51, seed=1),
        "cut": np.array([0, 3, 17, 9, 10]),
        "joined": np.array([0, 51, 9, 10]),
        "w2": _weights(12, 17, 3, 3, seed=2),
        "w3": _weights(12, 4, 1, 1, seed=3),
    }
    inputs = {"x": np.random.default_rng(1).uniform(-1, 1, (2, 6, 8, 11)).astype(np.float32)}
    assert_same(model_of(nodes, inputs, {"y": _FLOAT}, weights), inputs, tmp_path)
    prepared = load_prepared(tmp_path / "prepared")
    assert prepared.layout == "NHWC"
    # Three convolutions with what follows each, the shuffle in one, and one transpose at either end.
    assert prepared.kernels == 6


def test_grouped_convolutions_of_float16_and_of_one_axis(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], group=2, pads=[2, 0], strides=[3]),
        helper.make_node("Reshape", ["c1", "cut"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "joined"], ["s"]),
        helper.make_node("Conv", ["s", "w2"], ["y"], group=2),
    ]
    weights = {
        "w1": _weights(10, 3, 5).astype(np.float16),
        "cut": np.array([0, 2, 5, 10]),
        "joined": np.array([0, 10, 10]),
        "w2": _weights(4, 5, 2, seed=2).astype(np.float16),
    }
    inputs = {"x": np.random.default_rng(1).uniform(-1, 1, (1, 6, 30)).astype(np.float16)}
    assert_same(model_of(nodes, inputs, {"y": TensorProto.FLOAT16}, weights), inputs, tmp_path, relative=4e-3)
    assert load_prepared(tmp_path / "prepared").layout == "NHWC"
