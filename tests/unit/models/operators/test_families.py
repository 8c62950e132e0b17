"""One case of each family that ONNX's own tests leave open; the rest is the conformance suite's."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.models.operators.answers import assert_same, model_of
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.prepare import load_prepared

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.uniform(-1, 1, (1, 3, 5, 7)).astype(np.float32)


def test_a_pool_that_gives_places_over_odd_sizes(tmp_path: Path) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y", "at"], kernel_shape=[2, 3], strides=[2, 2], auto_pad="SAME_LOWER")
    model = model_of([node], {"x": PIXELS}, {"y": TensorProto.FLOAT, "at": TensorProto.INT64})
    assert_same(model, {"x": PIXELS}, tmp_path)


def test_a_transposed_convolution_of_given_sizes_between_convolutions(tmp_path: Path) -> None:
    weights = {
        "w": RANDOM.uniform(-1, 1, (4, 3, 3, 3)).astype(np.float32),
        "t": RANDOM.uniform(-1, 1, (4, 2, 3, 3)).astype(np.float32),
        "b": RANDOM.uniform(-1, 1, 2).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], auto_pad="SAME_UPPER"),
        helper.make_node("ConvTranspose", ["a", "t", "b"], ["y"], strides=[2, 2], output_shape=[10, 14]),
    ]
    model = model_of(nodes, {"x": PIXELS}, {"y": TensorProto.FLOAT}, weights)
    assert_same(model, {"x": PIXELS}, tmp_path)


def test_a_row_that_is_masked_altogether(tmp_path: Path) -> None:
    """Its largest is minus infinity, which TVM's own reduction can't be."""
    rows = np.array([[-np.inf, -np.inf], [1, 2]], np.float32)
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], axes=[1]), helper.make_node("IsInf", ["m"], ["y"])]
    model = model_of(nodes, {"x": rows}, {"y": TensorProto.BOOL}, opset=17)
    assert_same(model, {"x": rows}, tmp_path)


def test_powers_of_floats_by_whole_exponents(tmp_path: Path) -> None:
    node = helper.make_node("Pow", ["x", "e"], ["y"])
    model = model_of([node], {"x": PIXELS}, {"y": TensorProto.FLOAT}, {"e": np.array(3)})
    assert_same(model, {"x": PIXELS}, tmp_path)


def test_a_pad_by_a_number_that_is_computed_cuts_where_it_is_negative(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMin", ["x"], ["least"], keepdims=0),
        helper.make_node("Pad", ["x", "pads", "least", "axes"], ["y"]),
    ]
    weights = {"pads": np.array([1, -2, 2, 3]), "axes": np.array([-1, 1])}
    model = model_of(nodes, {"x": PIXELS}, {"y": TensorProto.FLOAT}, weights, opset=18)
    assert_same(model, {"x": PIXELS}, tmp_path)


def test_a_loop_of_known_length_is_unrolled(tmp_path: Path) -> None:
    """Its sum goes from step to step, and every step's is kept."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["state", "x"], ["next"]),
            helper.make_node("Identity", ["next"], ["kept"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, PIXELS.shape),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, PIXELS.shape),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, PIXELS.shape),
        ],
    )
    node = helper.make_node("Loop", ["three", "", "x"], ["y", "all"], body=body)
    outputs = {"y": TensorProto.FLOAT, "all": TensorProto.FLOAT}
    model = model_of([node], {"x": PIXELS}, outputs, {"three": np.array(3)})
    assert_same(model, {"x": PIXELS}, tmp_path)


@pytest.mark.parametrize(("length", "trips"), [(5, ""), (9, "three")])
def test_a_loop_that_counts_by_itself_is_unrolled(length: int, trips: str, tmp_path: Path) -> None:
    """As TensorFlow's `while` becomes: a state counts up to a size, in floats; the condition is the body's."""
    rows = RANDOM.uniform(-1, 1, (length, 4)).astype(np.float32)
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["x", "count"], ["row"]),
            helper.make_node("Add", ["state", "row"], ["after"]),
            helper.make_node("Identity", ["after"], ["kept"]),
            helper.make_node("Add", ["count", "one"], ["counted"]),
            helper.make_node("Cast", ["counted"], ["counted_float"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["size"], ["size_float"], to=TensorProto.FLOAT),
            helper.make_node("Less", ["counted_float", "size_float"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("size", TensorProto.INT64, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [4]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("counted", TensorProto.INT64, []),
            helper.make_tensor_value_info("size", TensorProto.INT64, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [4]),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, [4]),
        ],
        [numpy_helper.from_array(np.array(1), "one")],
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["length"]),
        helper.make_node("Less", ["zero", "length"], ["begins"]),
        helper.make_node(
            "Loop", [trips, "begins", "zero", "length", "none"], ["count", "size_after", "y", "all"], body=body
        ),
    ]
    outputs = {"count": TensorProto.INT64, "y": TensorProto.FLOAT, "all": TensorProto.FLOAT}
    weights = {"zero": np.array(0), "none": np.zeros(4, np.float32), "three": np.array(3)}
    assert_same(model_of(nodes, {"x": rows}, outputs, weights), {"x": rows}, tmp_path)


def test_a_loop_that_its_input_ends_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["state", "half"], ["after"]),
            helper.make_node("ReduceMax", ["after"], ["most"], keepdims=0),
            helper.make_node("Greater", ["most", "half"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, PIXELS.shape),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, PIXELS.shape),
        ],
        [numpy_helper.from_array(np.float32(0.5), "half")],
    )
    nodes = [
        helper.make_node("Loop", ["", "", "x"], ["z"], "until_small", body=body),
        helper.make_node("Conv", ["z", "w"], ["y"]),
    ]
    model = model_of(nodes, {"x": PIXELS}, {"y": TensorProto.FLOAT}, {"w": np.ones((2, 3, 3, 3), np.float32)})
    with pytest.raises(InvalidInput, match="Loop at until_small"):
        assert_same(model, {"x": PIXELS}, tmp_path)


def test_slices_that_leave_axes_out(tmp_path: Path) -> None:
    weights = {"s": np.array([0, 1]), "e": np.array([1, -1]), "t": np.array([1, 1])}
    short = helper.make_node("Slice", ["x", "s", "e", "", "t"], ["y"])
    assert_same(model_of([short], {"x": PIXELS}, {"y": TensorProto.FLOAT}, weights), {"x": PIXELS}, tmp_path)


def test_slices_of_old_have_attributes(tmp_path: Path) -> None:
    old = helper.make_node("Slice", ["x"], ["y"], starts=[1, -4], ends=[2**31, -1], axes=[1, -1])
    assert_same(model_of([old], {"x": PIXELS}, {"y": TensorProto.FLOAT}, opset=9), {"x": PIXELS}, tmp_path)


def test_many_parts_are_joined_in_groups(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", f"w{part}"], [f"m{part}"]) for part in range(40)]
    nodes.append(helper.make_node("Concat", [f"m{part}" for part in range(40)], ["y"], axis=1))
    weights = {f"w{part}": np.float32(part) for part in range(40)}
    assert_same(model_of(nodes, {"x": PIXELS}, {"y": TensorProto.FLOAT}, weights), {"x": PIXELS}, tmp_path)


def test_casts_to_integers_and_back(tmp_path: Path) -> None:
    values = np.array([[-3.7, -0.5, 0.5, 2.5, 200.9, 40000.2]], np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.INT32),
        helper.make_node("Cast", ["wide"], ["back"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["back"], ["y"], to=TensorProto.INT64),
        helper.make_node("Abs", ["x"], ["magnitude"]),
        helper.make_node("Cast", ["magnitude"], ["z"], to=TensorProto.UINT16),
    ]
    model = model_of(nodes, {"x": values}, {"y": TensorProto.INT64, "z": TensorProto.UINT16})
    assert_same(model, {"x": values}, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("operator", ["LayerNormalization", "RMSNormalization"])
def test_a_normalisation_is_one_kernel(operator: str, dtype: str, tmp_path: Path) -> None:
    """Its sums in float32, as a float16 of 4 x 96 squares would not hold them; what comes behind fused in."""
    rows = RANDOM.uniform(90, 110, (2, 5, 96)).astype(dtype)
    weights = {"s": RANDOM.uniform(0.5, 1.5, 96).astype(dtype), "b": RANDOM.uniform(-1, 1, 96).astype(dtype)}
    given = ["x", "s", "b"] if operator == "LayerNormalization" else ["x", "s"]
    nodes = [helper.make_node(operator, given, ["n"], axis=-1), helper.make_node("Relu", ["n"], ["y"])]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = model_of(nodes, {"x": rows}, {"y": element}, {name: weights[name] for name in given[1:]}, opset=23)
    assert_same(model, {"x": rows}, tmp_path, relative=1e-4 if dtype == "float32" else 4e-3)
    assert load_prepared(tmp_path / "prepared").kernels == 1


@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("inverse", ["Div", "Reciprocal", "one over"])
@pytest.mark.parametrize("centres", [True, False])
def test_a_normalisation_that_is_written_out_is_one_kernel(
    centres: bool, inverse: str, square: str, tmp_path: Path
) -> None:
    """As exporters wrote it before opset 17; its scale and its shift behind it."""
    rows = RANDOM.uniform(1, 3, (2, 5, 96)).astype(np.float32)
    weights = {
        "s": RANDOM.uniform(0.5, 1.5, 96).astype(np.float32),
        "b": RANDOM.uniform(-1, 1, 96).astype(np.float32),
        "two": np.float32(2),
        "one": np.float32(1),
        "e": np.array([1e-5], np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[-1]),
        helper.make_node("Sub", ["x", "m"], ["d"]) if centres else helper.make_node("Identity", ["x"], ["d"]),
        helper.make_node(square, ["d", "two" if square == "Pow" else "d"], ["q"]),
        helper.make_node("ReduceMean", ["q"], ["v"], axes=[2]),
        helper.make_node("Add", ["e", "v"], ["a"]),
        helper.make_node("Sqrt", ["a"], ["r"]),
    ]
    if inverse == "Div":
        nodes.append(helper.make_node("Div", ["d", "r"], ["n"]))
    else:
        over = ["r"] if inverse == "Reciprocal" else ["one", "r"]
        nodes.append(helper.make_node("Reciprocal" if inverse == "Reciprocal" else "Div", over, ["i"]))
        nodes.append(helper.make_node("Mul", ["i", "d"], ["n"]))
    nodes += [helper.make_node("Mul", ["n", "s"], ["t"]), helper.make_node("Add", ["t", "b"], ["y"])]
    model = model_of(nodes, {"x": rows}, {"y": TensorProto.FLOAT}, weights, opset=13)
    assert_same(model, {"x": rows}, tmp_path)
    assert load_prepared(tmp_path / "prepared").kernels == 1


def test_the_least_and_the_greatest_of_many(tmp_path: Path) -> None:
    """One number of a whole matrix: its steps written out, the compiler never came back."""
    rows = RANDOM.uniform(-3, 2, (48, 128)).astype(np.float32)
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
    outputs = {"y": TensorProto.UINT8, "scale": TensorProto.FLOAT, "zero": TensorProto.UINT8}
    assert_same(model_of([node], {"x": rows}, outputs), {"x": rows}, tmp_path)


def test_means_over_places_stay_between_convolutions(tmp_path: Path) -> None:
    """They follow the convolutions' layout: only the image and the answer are transposed."""
    weights = {
        "w": RANDOM.uniform(-1, 1, (8, 3, 1, 1)).astype(np.float32),
        "v": RANDOM.uniform(-1, 1, (4, 8, 1, 1)).astype(np.float32),
        "two": np.float32(2),
        "e": np.float32(1e-5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[2, 3]),
        helper.make_node("Sub", ["c", "m"], ["d"]),
        helper.make_node("Pow", ["d", "two"], ["q"]),
        helper.make_node("ReduceMean", ["q"], ["s"], axes=[2, 3]),
        helper.make_node("Add", ["s", "e"], ["a"]),
        helper.make_node("Sqrt", ["a"], ["r"]),
        helper.make_node("Div", ["d", "r"], ["n"]),
        helper.make_node("Conv", ["n", "v"], ["y"]),
    ]
    assert_same(model_of(nodes, {"x": PIXELS}, {"y": TensorProto.FLOAT}, weights, opset=13), {"x": PIXELS}, tmp_path)
    names = [str(gvar.name_hint) for gvar in load_prepared(tmp_path / "prepared").module().get_global_vars()]
    assert sum(name.startswith("transpose") for name in names) == 2, names


def test_a_signal_without_an_axis_of_parts(tmp_path: Path) -> None:
    signal = RANDOM.uniform(-1, 1, (2, 40)).astype(np.float32)
    node = helper.make_node("STFT", ["x", "step", "window"], ["y"])
    weights = {"step": np.array(6), "window": RANDOM.uniform(0, 1, 16).astype(np.float32)}
    assert_same(model_of([node], {"x": signal}, {"y": TensorProto.FLOAT}, weights, opset=17), {"x": signal}, tmp_path)
