"""Models whose end stays ONNX: both parts together answer as the whole did."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.unit.models.graphs import random_weights
from tests.unit.models.operators.answers import model_of
from tunefarm_coordinator.models.cutting import CutModel, NoCut, cut
from tunefarm_coordinator.models.onnx_graph import Unimportable
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.packaged_run import Model
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target

IMAGE = np.random.default_rng(0).uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
node = helper.make_node


def named(*operators: str) -> Callable[[onnx.NodeProto], bool]:
    return lambda it: it.op_type in operators


def run(model: onnx.ModelProto, inputs: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = {value.name: inputs[value.name] for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, wanted), strict=True))


def assert_whole(model: onnx.ModelProto, parts: CutModel, inputs: dict[str, Any]) -> None:
    middle = run(parts.network, inputs)
    assert tuple(middle) == parts.values
    found = middle | run(parts.tail, inputs | middle)
    for name, expected in run(model, inputs).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def detector() -> onnx.ModelProto:
    """Two convolutions give boxes and scores; the best boxes are picked, and counted with a Loop."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["go_on"]), node("Add", ["sum", "step"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1]),
        ],
    )
    nodes = [
        node("Conv", ["x", "wb"], ["b"], "boxes"),
        node("Reshape", ["b", "flat"], ["boxes"], "flatten"),
        node("Conv", ["x", "ws"], ["s"], "scores"),
        node("Reshape", ["s", "one"], ["scores"], "flatten_scores"),
        node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["picked"], "pick"),
        node("Gather", ["picked", "last"], ["indices"], "index", axis=1),
        node("Size", ["indices"], ["count"], "count"),
        node("ReduceMean", ["b"], ["step_"], "step", keepdims=0),
        node("Reshape", ["step_", "single"], ["step"], "single"),
        node("Loop", ["count", "", "zero"], ["total"], "add_up", body=body),
    ]
    weights = {
        "wb": random_weights(4, 3, 1, 1, seed=1),
        "ws": random_weights(1, 3, 1, 1, seed=2),
        "flat": np.array([1, 64, 4]),
        "one": np.array([1, 1, 64]),
        "single": np.array([1]),
        "most": np.array([5]),
        "overlap": np.array([0.5], np.float32),
        "last": np.array(2),
        "zero": np.zeros(1, np.float32),
    }
    outputs = {"indices": TensorProto.INT64, "boxes": TensorProto.FLOAT, "total": TensorProto.FLOAT}
    return model_of(nodes, {"x": IMAGE}, outputs, weights)


def test_a_detector_is_cut_before_its_boxes_are_picked() -> None:
    model = detector()
    parts = cut(model, named("NonMaxSuppression", "Loop"))
    assert parts.places == ("NonMaxSuppression at node pick",)
    assert [it.op_type for it in parts.tail.graph.node][:1] == ["NonMaxSuppression"]
    assert not {"Conv", "ReduceMean"} & {it.op_type for it in parts.tail.graph.node}
    assert_whole(model, parts, {"x": IMAGE})


def test_a_tail_may_read_the_models_inputs_and_constants_that_nodes_make() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], "conv"),
        node("Add", ["half", "half"], ["limit"], "limit"),
        node("Greater", ["x", "limit"], ["mask"], "mask"),
        node("Compress", ["x", "flags"], ["kept"], "keep", axis=1),
        node("Mul", ["kept", "limit"], ["y"], "scale"),
        node("Mul", ["c", "limit"], ["z"], "scale_too"),
    ]
    weights = {"w": random_weights(2, 3, 1, 1), "half": np.float32(0.25), "flags": np.array([True, False, True])}
    outputs = {"y": TensorProto.FLOAT, "z": TensorProto.FLOAT, "mask": TensorProto.BOOL}
    model = model_of(nodes, {"x": IMAGE}, outputs, weights)
    parts = cut(model, named("Compress"))
    assert [value.name for value in parts.tail.graph.input] == ["x"]
    assert_whole(model, parts, {"x": IMAGE})


@pytest.mark.parametrize(
    ("operators", "reason"),
    [(["Conv"], "^$"), (["Relu"], "Conv at second comes after it"), (["Loop"], "^$")],
)
def test_no_cut_where_it_would_not_help(operators: list[str], reason: str) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["a"], "first"),
        node("Relu", ["a"], ["b"], "middle"),
        node("Conv", ["b", "w"], ["y"], "second"),
    ]
    model = model_of(nodes, {"x": IMAGE}, {"y": TensorProto.FLOAT}, {"w": random_weights(3, 3, 1, 1)})
    with pytest.raises(NoCut, match=reason):
        cut(model, named(*operators))


def test_a_cut_model_is_packaged_with_both_parts(tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    onnx.save(detector(), path)
    prepared = prepare(path, {"x": IMAGE.shape}, host_target(), tmp_path / "prepared")
    assert [spec.name for spec in prepared.outputs] == ["boxes", "scores", "step"]
    (note,) = prepared.notes
    assert "NonMaxSuppression at node pick" in note
    build_untuned(tmp_path / "prepared", tmp_path / "package")
    model = Model(tmp_path / "package")
    found, expected = model({"x": IMAGE}), run(detector(), {"x": IMAGE})
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_what_no_cut_helps_is_refused_with_its_own_reason_alone(tmp_path: Path) -> None:
    nodes = [node("NonZero", ["x"], ["a"], "where"), node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)]
    onnx.save(model_of(nodes, {"x": IMAGE}, {"y": TensorProto.FLOAT}), tmp_path / "model.onnx")
    with pytest.raises(Unimportable, match=r"NonZero at where$"):
        prepare(tmp_path / "model.onnx", {"x": IMAGE.shape}, host_target(), tmp_path / "prepared")
