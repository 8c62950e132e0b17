"""Padding that a model's inputs can't have is refused, with the input's name."""

import pytest

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.onnx_file import Signature, TensorSignature
from tunefarm_coordinator.models.padding import check_padding, equal_axes

DTYPES = ("float32", "float16", "int64", "uint8", "bool")
SIGNATURE = Signature(tuple(TensorSignature(dtype, dtype, (1, "n")) for dtype in DTYPES), ())


def test_numbers_of_each_kind() -> None:
    check_padding(SIGNATURE, {"float32": -0.5, "float16": 65504.0, "int64": -100.0, "uint8": 255.0, "bool": 1.0})
    check_padding(SIGNATURE, {})


def test_axes_are_equal_where_the_file_gives_them_one_name() -> None:
    inputs = tuple(TensorSignature(name, "int64", ("n", "length")) for name in ("ids", "mask"))
    outputs = (TensorSignature("states", "float32", ("n", "length", 8)), TensorSignature("any", "float32", None))
    assert equal_axes(Signature(inputs, outputs), {"ids": 0.0}) == [
        {"output": "states", "axis": 0, "input": "ids", "along": 0},
        {"output": "states", "axis": 1, "input": "ids", "along": 1},
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("image", 0.0, "no input named 'image': the model has float32, float16"),
        ("float16", 70000.0, "input 'float16' is float16, which can't be 70000"),
        ("float32", float("inf"), "can't be inf"),
        ("float32", float("nan"), "can't be nan"),
        ("int64", 0.5, "can't be 0.5"),
        ("uint8", -1.0, "can't be -1"),
        ("uint8", 256.0, "can't be 256"),
        ("bool", 2.0, "can't be 2"),
    ],
)
def test_refused(name: str, value: float, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_padding(SIGNATURE, {name: value})
