"""Every way in which a model file or an `--input` can be wrong, each with a message that says what to do."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

from tests.unit.models import graphs
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.onnx_file import (
    Signature,
    TensorSignature,
    read_signature,
    resolve_shape_sets,
    resolve_shapes,
)


def _signature(**dims: tuple[int | str | None, ...] | None) -> Signature:
    return Signature(tuple(TensorSignature(name, "float32", shape) for name, shape in dims.items()), ())


def test_initializers_are_no_inputs(tmp_path: Path) -> None:
    path = graphs.save_conv_pair(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("w1", TensorProto.FLOAT, [32, 32, 3, 3]))
    onnx.save(model, path)
    signature = read_signature(path)
    assert [(t.name, t.dtype, t.dims) for t in signature.inputs] == [("x", "float32", (1, 32, 10, 10))]
    assert [(t.name, t.dims) for t in signature.outputs] == [("y", None)]


def test_unknown_sizes_are_symbols_or_none(tmp_path: Path) -> None:
    path = graphs.save_relu(tmp_path / "m.onnx", ["batch", "?", -1, 0, None, 7])
    assert read_signature(path).inputs[0].dims == ("batch", None, None, None, None, 7)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        read_signature(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 50, b"PK\x03\x04" + bytes(range(256)), b"\x7fELF"])
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="not an ONNX file"):
        read_signature(path)


def test_empty_graph(tmp_path: Path) -> None:
    path = graphs.save(tmp_path / "m.onnx", [], {"x": [1]}, ["x"])
    with pytest.raises(InvalidInput, match="empty"):
        read_signature(path)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.999])
def test_truncated_anywhere(tmp_path: Path, kept: float) -> None:
    path = graphs.save_conv_pair(tmp_path / "m.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InvalidInput, match="truncated"):
        read_signature(path)


def _save_external(path: Path) -> Path:
    model = onnx.load(graphs.save_conv_pair(path))
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, path)
    return path.parent / "weights.bin"


def test_external_data_is_found(tmp_path: Path) -> None:
    _save_external(tmp_path / "m.onnx")
    assert read_signature(tmp_path / "m.onnx").inputs[0].name == "x"


def test_external_data_missing_or_short(tmp_path: Path) -> None:
    data = _save_external(tmp_path / "m.onnx")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(InvalidInput, match=r"weights\.bin: 100 bytes, \d+ needed"):
        read_signature(tmp_path / "m.onnx")
    data.unlink()
    with pytest.raises(InvalidInput, match=r"weights\.bin, which is missing"):
        read_signature(tmp_path / "m.onnx")


def test_what_is_no_tensor_is_named(tmp_path: Path) -> None:
    """As skl2onnx gives the probabilities of a classifier: a sequence of maps."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    node = helper.make_node("SequenceConstruct", ["x"], ["probabilities"])
    graph = helper.make_graph([node], "g", [given], [helper.make_value_info("probabilities", kind)])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(InvalidInput, match=r"'probabilities' is no tensor but a sequence.*zipmap=False"):
        read_signature(path)


def test_strings_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    path = graphs.save(tmp_path / "m.onnx", [node], {"x": [1]}, ["y"], input_type=TensorProto.STRING)
    with pytest.raises(InvalidInput, match="'x' holds text"):
        read_signature(path)


@pytest.mark.parametrize("dtype", [TensorProto.INT4, TensorProto.FLOAT4E2M1, TensorProto.FLOAT8E8M0])
def test_what_no_compiled_model_takes_is_refused(tmp_path: Path, dtype: int) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    path = graphs.save(tmp_path / "m.onnx", [node], {"x": [1]}, ["y"], input_type=dtype)
    with pytest.raises(InvalidInput, match=r"which no compiled model can take or give.*cast it outside"):
        read_signature(path)


@pytest.mark.parametrize(
    ("dtype", "name"), [(TensorProto.BFLOAT16, "bfloat16"), (TensorProto.FLOAT8E4M3FN, "float8_e4m3fn")]
)
def test_floats_that_numpy_does_not_know_are_read(tmp_path: Path, dtype: int, name: str) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    path = graphs.save(tmp_path / "m.onnx", [node], {"x": [1]}, ["y"], input_type=dtype)
    assert read_signature(path).inputs[0].dtype == name


def test_batch_defaults_to_one_and_symbols_are_shared() -> None:
    signature = _signature(image=("n", 3, "side", "side"), mask=(None, "side"))
    assert resolve_shapes(signature, {"image": [2, 3, 8, 8]}) == {"image": (2, 3, 8, 8), "mask": (1, 8)}


def test_a_suggested_option_is_quoted_for_a_shell() -> None:
    with pytest.raises(InvalidInput, match=r"--input 'my image'=1,\?"):
        resolve_shapes(Signature((TensorSignature("my image", "float32", (1, None)),), ()), {})


def test_all_open_sizes_are_asked_for_at_once() -> None:
    signature = _signature(image=("n", 3, "h", "w"), tokens=(1, None), mask=(1, 5), free=None)
    with pytest.raises(InvalidInput) as caught:
        resolve_shapes(signature, {})
    message = str(caught.value)
    assert "--input image=1,3,?,? --input tokens=1,? --input free=?,..." in message
    assert "mask" not in message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"imagee": [1, 3, 8, 8]}, r"no input named 'imagee': the model has image=n,3,h,h"),
        ({"image": [1, 3, 8]}, r"4 dimensions \(n,3,h,h\), got 3 \(1,3,8\)"),
        ({"image": [1, 4, 8, 8]}, r"dimension 1 is fixed at 3 in the model, got 4"),
        ({"image": [1, 3, -2, 8]}, r"0 or more, got 1,3,-2,8"),
        ({"image": [1, 3, 8, 9]}, r"'h' of input 'image' is 9 here and 8 elsewhere"),
    ],
)
def test_wrong_shapes(given: dict[str, list[int]], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        resolve_shapes(_signature(image=("n", 3, "h", "h")), given)


def test_each_shape_set_is_resolved_by_itself() -> None:
    signature = _signature(tokens=("n", "length"), mask=("n", "length"))
    sets = resolve_shape_sets(signature, [{"tokens": [1, 16]}, {"mask": [2, 64]}])
    assert sets == ({"tokens": (1, 16), "mask": (1, 16)}, {"tokens": (2, 64), "mask": (2, 64)})
    assert resolve_shape_sets(_signature(x=(1, 3)), []) == ({"x": (1, 3)},)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"tokens": [1, 16], "mask": [1, 16]}, "shape sets 1 and 2 are equal"),
        ({}, r"shape set 2: the model leaves input sizes open .* --input tokens=1,\?"),
        ({"tokens": [1, 16], "mask": [1, 8]}, "shape set 2: 'length' of input 'mask' is 8 here and 16 elsewhere"),
    ],
)
def test_a_shape_set_that_can_not_be_meant(second: dict[str, list[int]], said: str) -> None:
    signature = _signature(tokens=("n", "length"), mask=("n", "length"))
    with pytest.raises(InvalidInput, match=said):
        resolve_shape_sets(signature, [{"tokens": [1, 16]}, second])


def test_element_types(tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    path = graphs.save(tmp_path / "m.onnx", [node], {"x": [1]}, ["y"], input_type=TensorProto.INT64)
    assert np.dtype(read_signature(path).inputs[0].dtype) == np.int64
