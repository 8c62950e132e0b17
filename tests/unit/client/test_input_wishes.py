"""What is said of a model's inputs is checked against its file before anything starts; NumPy writes the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tunefarm.errors import InvalidInput
from tunefarm.input_wishes import parse_frozen, parse_ranges, wishes_of
from tunefarm.model_files import DeclaredInput, declared_inputs
from tunefarm.numpy_files import ArrayHeader, npy_header, npz_headers

INPUTS = [
    DeclaredInput("ids", "int64", (1, None)),
    DeclaredInput("mask/0", "bool", None),
    DeclaredInput("scale", "float32", ()),
]


def test_inputs_are_read_from_the_file(tmp_path: Path) -> None:
    values = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "length"]),
        helper.make_tensor_value_info("open", TensorProto.BFLOAT16, None),
        helper.make_tensor_value_info("scale", TensorProto.DOUBLE, []),
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]),
    ]
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    node = helper.make_node("Identity", ["ids"], ["y"])
    output = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    onnx.save(helper.make_model(helper.make_graph([node], "g", values, [output], [weight])), tmp_path / "m.onnx")
    assert declared_inputs(tmp_path / "m.onnx") == [
        DeclaredInput("ids", "int64", (1, None)),
        DeclaredInput("open", None, None),
        DeclaredInput("scale", "float64", ()),
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 5)])
def test_headers_of_numpy_files(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype, order="F")
    np.save(tmp_path / "a.npy", array)
    arrays: dict[str, Any] = {"x/0": array, "y": array}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    assert npy_header(tmp_path / "a.npy") == ArrayHeader(dtype, shape)
    assert npz_headers(tmp_path / "a.npz") == dict.fromkeys(("x/0", "y"), ArrayHeader(dtype, shape))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00\x06\x00{'a':}", b"x,y\n1,2\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    for read in (npy_header, npz_headers):
        with pytest.raises(InvalidInput, match=r"is no \.np. file"):
            read(tmp_path / "a")


def test_ranges_and_values_are_parsed() -> None:
    assert parse_ranges(["ids=0:30522", "x:0=-1.5:1e3"]) == {"ids": (0.0, 30522.0), "x:0": (-1.5, 1000.0)}
    texts = ["n=5", "shape=1, 16", "a=b=0.5", "m=[[1,2],[3,4]]", "flag=True", "far=-inf", "w=@dir/w=1.npy"]
    assert parse_frozen(texts) == {
        "n": 5,
        "shape": [1, 16],
        "a=b": 0.5,
        "m": [[1, 2], [3, 4]],
        "flag": True,
        "far": float("-inf"),
        "w": Path("dir/w=1.npy"),
    }


@pytest.mark.parametrize("text", ["ids", "ids=", "=1:2", "ids=1", "ids=1:2:3", "ids=a:b"])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="write NAME=LOW:HIGH"):
        parse_ranges([text])


@pytest.mark.parametrize("text", ["n", "n=", "=5", "n=five", 'n="5"', "n={}", "n=[]", "n=@"])
def test_other_values_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"write NAME=0\.5"):
        parse_frozen([text])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"input_ranges": {"id": (0, 5)}}, "--range: no input is called 'id': the model has ids, mask/0, scale"),
        ({"freeze": {"id": 1}}, "--freeze: no input is called 'id'"),
        ({"force_inputs": {"id": [1]}}, "--force-input: no input is called 'id'"),
    ],
)
def test_names_that_no_input_has_are_refused(said: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        wishes_of(**said).check(INPUTS)


@pytest.mark.parametrize(
    "said",
    [
        {"input_ranges": {"a": (5, 5)}},
        {"input_ranges": {"a": 3}},
        {"freeze": {"a": {1}}},
        {"freeze": {"a": [0] * 10**5}},
    ],
)
def test_what_says_nothing_is_refused(said: Any) -> None:
    with pytest.raises(InvalidInput, match="input 'a'"):
        wishes_of(**said)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": np.zeros((1, 7), np.int64), "mask/0": np.ones(3, bool), "scale": np.float32(1)}, None),
        (
            {"ids/0": np.zeros((1, 7), np.int64), "ids/1": np.zeros((1, 9), np.int64), "mask/0/0": np.ones(3, bool)},
            "mask/0",
        ),
        (
            {"ids": np.zeros((1, 7), np.int32)},
            r"'ids' in .* is int32, but input 'ids' is int64: save it with .astype\('int64'\)",
        ),
        ({"ids": np.zeros((2, 7), np.int64)}, "'ids' in .* is 2,7, but input 'ids' is 1,\\?"),
        ({"scale": np.zeros(1, np.float32)}, "'scale' in .* is 1, but input 'scale' is a scalar"),
        ({"id": np.zeros((1, 7), np.int64)}, "no input is called 'id'"),
        ({"ids/1": np.zeros((1, 7), np.int64)}, r"'ids' has sets \[1\], but 1 are numbered from 0"),
        ({}, "has no arrays"),
    ],
)
def test_samples_are_checked_without_numpy(tmp_path: Path, arrays: dict[str, Any], message: str | None) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    wishes = wishes_of(tmp_path / "s.npz")
    if message is None:
        wishes.check(INPUTS)
        return
    with pytest.raises(InvalidInput, match=message):
        wishes.check(INPUTS)


def test_forced_sizes_and_frozen_inputs_are_taken_into_account(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", ids=np.zeros((4, 7), np.int64))
    wishes_of(tmp_path / "s.npz", force_inputs={"ids": [4, 7]}).check(INPUTS)
    with pytest.raises(InvalidInput, match="no input is called 'ids'"):
        wishes_of(tmp_path / "s.npz", freeze={"ids": [[1, 2]]}).check(INPUTS)
    np.save(tmp_path / "ids.npy", np.zeros((1, 7)))
    with pytest.raises(InvalidInput, match="is float64, but input 'ids' is int64"):
        wishes_of(freeze={"ids": tmp_path / "ids.npy"}).check(INPUTS)
