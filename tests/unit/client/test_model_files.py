"""Which files a model consists of, found without the onnx package; models here are written with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tunefarm.errors import InvalidInput
from tunefarm.model_files import model_files


def _model(*, in_branch: bool = False) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((300, 2), np.float32), "w")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 300)), ("y", (1, 2)))
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    if in_branch:
        branch = helper.make_graph([node], "branch", [], values[1:], [weight])
        choice = helper.make_tensor_value_info("c", TensorProto.BOOL, ())
        choose = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
        return helper.make_model(helper.make_graph([choose], "g", [values[0], choice], values[1:]))
    return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [weight]))


def _external(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """Marks every initializer as living in `location`."""
    graphs = [model.graph]
    graphs += [a.g for node in model.graph.node for a in node.attribute if a.HasField("g")]
    for graph in graphs:
        for tensor in graph.initializer:
            onnx.external_data_helper.set_external_data(tensor, location)
            tensor.ClearField("raw_data")
    return model


def test_a_model_that_holds_its_weights_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(_model(), path)
    assert [file.path for file in model_files(path)] == ["m.onnx"]


def test_finds_external_data_that_onnx_wrote(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(_model(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    files = model_files(path)
    assert [(file.path, file.source) for file in files] == [("m.onnx", path), ("m.data", tmp_path / "m.data")]


def test_finds_external_data_below_control_flow_and_in_folders_once(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(_external(_model(in_branch=True), "weights/w.bin").SerializeToString())
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"\0" * 2400)
    assert [file.path for file in model_files(path)] == ["m.onnx", "weights/w.bin"]


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", "..\\x", "gone.bin"])
def test_refuses_external_data_that_is_elsewhere_or_gone(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "m.onnx"
    path.write_bytes(_external(_model(), location).SerializeToString())
    with pytest.raises(InvalidInput, match="external data"):
        model_files(path)


def test_refuses_what_is_no_model(tmp_path: Path) -> None:
    text = tmp_path / "m.onnx"
    text.write_text("hello, this is not a model\n" * 10)
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    for path, says in ((text, "not an ONNX"), (empty, "not an ONNX"), (tmp_path, "not a file")):
        with pytest.raises(InvalidInput, match=says):
            model_files(path)
    with pytest.raises(InvalidInput, match=r"no such file: .*gone\.onnx"):
        model_files(tmp_path / "gone.onnx")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_refuses_a_truncated_model(tmp_path: Path, kept: float) -> None:
    data = _model().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InvalidInput, match="truncated"):
        model_files(path)
