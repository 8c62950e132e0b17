"""Inputs made constants, sizes set free: the derived file is a model like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.unit.models.graphs import random_weights, save
from tunefarm_coordinator.compute.messages import PrepareModel
from tunefarm_coordinator.compute.model_work import prepare_model
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.derived import check_sizes, derive_model, frozen_array
from tunefarm_coordinator.models.onnx_file import TensorSignature, read_signature, resolve_shapes

Shapes = dict[str, tuple[int, ...]]


def run(path: Path, **inputs: Any) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.fixture
def reshaping(tmp_path: Path) -> Path:
    """y = reshape(relu(x), shape): what TVM can't compile, as long as the shape is an input."""
    nodes = [helper.make_node("Relu", ["x"], ["r"], "relu"), helper.make_node("Reshape", ["r", "shape"], ["y"], "fold")]
    (tmp_path / "model").mkdir()
    path = save(tmp_path / "model" / "m.onnx", nodes, {"x": [2, 6]}, ["y"])
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [2]))
    onnx.save(model, path)
    return path


def test_a_refusal_names_the_input_and_freezing_it_helps(reshaping: Path, tmp_path: Path) -> None:
    shapes: Shapes = {"x": (2, 6), "shape": (2,)}
    with pytest.raises(InvalidInput, match="Reshape at node fold takes its shape from input 'shape': fix it with --fr"):
        prepare_model(PrepareModel(reshaping, shapes, "llvm", tmp_path / "refused"))
    out = tmp_path / "derived" / "m.onnx"
    derive_model(reshaping, out, {"shape": np.array([3, 4])})
    assert [tensor.name for tensor in read_signature(out).inputs] == ["x"]
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    assert run(out, x=x).tolist() == run(reshaping, x=x, shape=np.array([3, 4])).tolist()
    summary = prepare_model(PrepareModel(out, {"x": (2, 6)}, "llvm", tmp_path / "prepared"))
    assert [(tensor.name, tensor.shape) for tensor in summary.outputs] == [("y", (3, 4))]


def test_what_lies_beside_the_model_goes_along(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    nodes = [helper.make_node("Gemm", ["x", "w"], ["g"]), helper.make_node("Add", ["g", "b"], ["y"])]
    path = save(folder / "m.onnx", nodes, {"x": [1, 64], "b": [1, 64]}, ["y"], {"w": random_weights(64, 64)})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin")
    out = tmp_path / "derived" / "m.onnx"
    derive_model(path, out, {"b": np.ones((1, 64), np.float32)})
    x = np.ones((1, 64), np.float32)
    assert np.array_equal(run(out, x=x), run(path, x=x, b=np.ones((1, 64), np.float32)))


@pytest.mark.parametrize(
    ("dtype", "dims", "given", "sizes", "expected"),
    [
        ("int64", (2,), "[1, 16]", None, [1, 16]),
        ("int64", (), "5", None, 5),
        ("float32", (1,), "0.5", None, [0.5]),
        ("int64", ("batch", 3), "1", [2, 3], [[1, 1, 1], [1, 1, 1]]),
        ("int64", (None, 2), "[640, 480]", None, [[640, 480]]),
        ("bool", (2,), "[true, false]", None, [True, False]),
        ("bool", (1,), "1", None, [True]),
        ("float32", (2,), "[1, Infinity]", None, [1, float("inf")]),
    ],
)
def test_values_take_the_inputs_dtype_and_shape(
    dtype: str, dims: Any, given: str, sizes: list[int] | None, expected: Any
) -> None:
    value = frozen_array(TensorSignature("n", dtype, dims), given, sizes)
    assert (value.dtype.name, value.tolist()) == (dtype, expected)


@pytest.mark.parametrize(
    ("dtype", "dims", "given", "message"),
    [
        ("int64", (2,), "[1, 2, 3]", "dimension 0 is fixed at 2 in the model, got 3"),
        ("int64", (2,), "[1, 2.5]", "'n' is int64, which does not hold"),
        ("uint8", (), "300", "'n' is uint8, which does not hold 300"),
        ("int64", (), "true", "'n' is int64, not true or false"),
        ("int64", (2,), "[[1], [2, 3]]", "no even list of numbers"),
        ("int64", (2,), '"one"', "numbers, true and false only"),
        ("int64", (1, None), "1", "fill in the"),
    ],
)
def test_values_that_do_not_fit_are_refused(dtype: str, dims: Any, given: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        frozen_array(TensorSignature("n", dtype, dims), given)


def test_a_file_is_a_value_too(tmp_path: Path) -> None:
    tensor = TensorSignature("n", "float32", (2,))
    np.save(tmp_path / "n.npy", np.array([1, 2], ">f4"))
    assert frozen_array(tensor, tmp_path / "n.npy").tolist() == [1, 2]
    np.save(tmp_path / "d.npy", np.array([1.0, 2.0]))
    with pytest.raises(InvalidInput, match="has float64, the input is float32"):
        frozen_array(tensor, tmp_path / "d.npy")
    (tmp_path / "n.txt").write_text("1, 2")
    with pytest.raises(InvalidInput, match=r"no \.npy file"):
        frozen_array(tensor, tmp_path / "n.txt")


def save_batch_of_ten(path: Path, shape: list[int]) -> Path:
    """A convolution and a dense layer on ten images, with every size written down, and a reshape in between."""
    path.parent.mkdir()
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Reshape", ["c", "shape"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "d"], ["y"], "dense"),
    ]
    weights = {"w": random_weights(4, 3, 3, 3), "d": random_weights(64, 5), "shape": np.array(shape)}
    save(path, nodes, {"x": [10, 3, 4, 4]}, ["y"], weights)
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    assert len(model.graph.value_info) >= 2
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("reshape", [[-1, 64], [10, 64], [0, -1]])
def test_a_size_that_the_file_fixes_is_forced(tmp_path: Path, reshape: list[int]) -> None:
    path = save_batch_of_ten(tmp_path / "model" / "m.onnx", reshape)
    with pytest.raises(InvalidInput, match=r"fixed at 10 .* --force-input x=1,3,4,4 overrides it"):
        resolve_shapes(read_signature(path), {"x": [1, 3, 4, 4]})
    out = tmp_path / "derived" / "m.onnx"
    derive_model(path, out, forced=["x"])
    shapes = resolve_shapes(read_signature(out), {"x": [1, 3, 4, 4]})
    check_sizes(out, shapes)
    x = np.random.default_rng(0).standard_normal((10, 3, 4, 4)).astype(np.float32)
    assert np.allclose(run(out, x=x[:1]), run(path, x=x)[:1], atol=1e-6)


def test_reshapes_that_merge_the_batch_follow_it(tmp_path: Path) -> None:
    """Attention's way: batch and heads are one axis, and two again."""
    nodes = [
        helper.make_node("Reshape", ["x", "merged"], ["m"]),
        helper.make_node("Softmax", ["m"], ["s"], axis=1),
        helper.make_node("Reshape", ["s", "apart"], ["y"]),
    ]
    (tmp_path / "model").mkdir()
    shapes = {"merged": np.array([40, 8]), "apart": np.array([10, 4, 8])}
    path = save(tmp_path / "model" / "m.onnx", nodes, {"x": [10, 4, 8]}, ["y"], shapes)
    derive_model(path, out := tmp_path / "derived" / "m.onnx", forced=["x"])
    x = np.random.default_rng(0).standard_normal((10, 4, 8)).astype(np.float32)
    whole = run(path, x=x)
    assert np.array_equal(run(out, x=x), whole)
    # The second reshape finds the merged axis, of which its first size says nothing: it is what is left.
    assert np.array_equal(run(out, x=x[3:5]), whole[3:5])


@pytest.mark.parametrize(
    ("reshape", "sizes", "reason"),
    [
        ([20, 32], [1, 3, 4, 5], "Reshape at node flat makes -1,32 of 1,4,4,5"),
        ([5, 128], [1, 3, 4, 4], "Reshape at node flat makes 5,128 of 1,4,4,4"),
        ([-1, 64], [1, 3, 6, 5], "Reshape at node flat makes -1,64 of 1,4,6,5"),
        ([0, -1], [1, 3, 5, 5], "MatMul.*dense"),
    ],
)
def test_what_can_not_be_forced_says_where(tmp_path: Path, reshape: list[int], sizes: list[int], reason: str) -> None:
    path = save_batch_of_ten(tmp_path / "model" / "m.onnx", reshape)
    derive_model(path, out := tmp_path / "derived" / "m.onnx", forced=["x"])
    with pytest.raises(InvalidInput, match=f"can't take x={','.join(map(str, sizes))}: .*{reason}"):
        check_sizes(out, {"x": tuple(sizes)})
