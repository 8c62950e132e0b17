"""ONNX Runtime on types that its Python side can't turn into arrays."""

import ml_dtypes  # noqa: F401 - NumPy knows the types by name from then on
import numpy as np
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import model_of
from tunefarm_coordinator.models.conditioning import shaken
from tunefarm_coordinator.models.reference_session import load_session, run_session


def test_bfloat16_and_floats_of_eight_bits_go_in_and_come_out() -> None:
    x = np.array([1, -2, 3, 500], np.float32).astype("bfloat16")
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["wide"], ["r"]),
        helper.make_node("Cast", ["r"], ["y"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["r"], ["z"], to=TensorProto.FLOAT8E4M3FN),
    ]
    outputs = {"r": TensorProto.FLOAT, "y": TensorProto.BFLOAT16, "z": TensorProto.FLOAT8E4M3FN}
    session = load_session(model_of(nodes, {"x": x}, outputs).SerializeToString())
    found = run_session(session, [x])
    assert [value.dtype.name for value in found] == ["float32", "bfloat16", "float8_e4m3fn"]
    assert [value.astype(np.float32).tolist() for value in found] == [[1, 0, 3, 500], [1, 0, 3, 500], [1, 0, 3, 448]]


def test_floats_without_digits_to_spare_are_not_shaken() -> None:
    values = [np.ones(100, dtype) for dtype in ("bfloat16", "float8_e5m2")]
    for found, value in zip(shaken(values), values, strict=True):
        assert found.tobytes() == value.tobytes()
