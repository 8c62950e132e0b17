"""Seeded integers are what the graph can take: ids within their tables, masks of ones, lengths, axes, divisors."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.models.graphs import random_weights, save
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.input_ranges import ONES, InputRange, input_ranges
from tunefarm_coordinator.models.input_sets import input_sets
from tunefarm_coordinator.models.input_values import InputValues
from tunefarm_coordinator.models.reference import answers

INT64, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int]]],
    constants: dict[str, Any] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in inputs.items()],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(f.domain, 1) for f in functions or ())]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


IDS = {"x": (INT64, [1, 6])}
SHAPES: dict[str, tuple[int, ...]] = {"a": (2,), "b": (2,)}


def table(rows: int) -> Any:
    return np.zeros((rows, 4), np.float32)


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        ([node("Gather", "t x", "y")], {"t": table(2)}, (0, 2)),
        ([node("Gather", "t x", "y")], {"t": table(1000)}, (0, 10)),
        # Two tables: the smaller one decides.
        (
            [node("Gather", "t x", "a"), node("Gather", "s x", "b"), node("Add", "a b", "y")],
            {"t": table(7), "s": table(3)},
            (0, 3),
        ),
        # Position 2 is the first, as in RoBERTa: the table of 5 rows has room for three places.
        ([node("Add", "x two", "i"), node("Gather", "t i", "y")], {"t": table(5), "two": np.int64(2)}, (0, 3)),
        ([node("Sub", "x three", "i"), node("Gather", "t i", "y")], {"t": table(4), "three": np.int64(3)}, (3, 7)),
        ([node("Mul", "x two", "i"), node("Gather", "t i", "y")], {"t": table(8), "two": np.int64(2)}, (0, 4)),
        (
            [
                node("Cast", "x", "c", to=TensorProto.INT32),
                node("Reshape", "c shape", "r"),
                node("Slice", "r start end axis", "s"),
                node("Transpose", "s", "i"),
                node("Gather", "t i", "y"),
            ],
            {
                "t": table(3),
                "shape": np.array([2, 3]),
                "start": np.array([0]),
                "end": np.array([1]),
                "axis": np.array([0]),
            },
            (0, 3),
        ),
        # Whatever it is, Clip and Mod put it in place.
        ([node("Mod", "x n", "i"), node("Gather", "t i", "y")], {"t": table(3), "n": np.int64(3)}, (0, 10)),
        (
            [node("Clip", "x low high", "i"), node("Gather", "t i", "y")],
            {"t": table(3), "low": np.int64(0), "high": np.int64(2)},
            (0, 10),
        ),
        # A negative place counts from the end; the other branch of "where" says what is meant.
        (
            [
                node("Less", "x zero", "c"),
                node("Add", "x rows", "wrapped"),
                node("Where", "c wrapped x", "i"),
                node("Gather", "t i", "y"),
            ],
            {"t": table(4), "zero": np.int64(0), "rows": np.int64(4)},
            (0, 4),
        ),
        # The rows of a table that is computed are known from its sizes.
        ([node("Identity", "t", "u"), node("GatherElements", "u x", "y", axis=0)], {"t": table(3)}, (0, 3)),
        ([node("OneHot", "x depth values", "y")], {"depth": np.array(5), "values": np.array([0.0, 1.0])}, (0, 5)),
        ([node("Div", "t x", "y")], {"t": np.arange(6)}, (1, 11)),
        # Two inputs that are multiplied say nothing of each other.
        ([node("Mul", "x x", "i"), node("Gather", "t i", "y")], {"t": table(3)}, (0, 10)),
        # A size that comes of a computed shape.
        (
            [node("Shape", "t", "s"), node("Reshape", "u s", "v"), node("Gather", "v x", "y")],
            {"t": table(3), "u": np.zeros(12, np.float32)},
            (0, 3),
        ),
        # A mask hides by a great negative number, decides, or is compared with 0 or 1.
        (
            [
                node("Cast", "x", "f", to=FLOAT),
                node("Unsqueeze", "f axis", "u"),
                node("Sub", "one u", "hidden"),
                node("Mul", "hidden huge", "y"),
            ],
            {"one": np.float32(1), "huge": np.float32(-1e4), "axis": np.array([1])},
            (1, 2),
        ),
        ([node("Cast", "x", "c", to=BOOL), node("Where", "c t u", "y")], {"t": table(6).T, "u": table(6).T}, (1, 2)),
        (
            [node("Equal", "x zero", "c"), node("Where", "c t u", "y")],
            {"t": 1.0, "u": 2.0, "zero": np.int64(0)},
            (1, 2),
        ),
        # Ids are compared with the padding's number as well.
        (
            [node("Equal", "x one", "c"), node("Gather", "t x", "g"), node("Where", "c u g", "y")],
            {"t": np.zeros(30, np.float32), "u": np.float32(0), "one": np.int64(1)},
            (0, 10),
        ),
        # Compared with places: a length of at least one.
        (
            [node("Unsqueeze", "x axis", "u"), node("Less", "places u", "c"), node("Cast", "c", "y", to=FLOAT)],
            {"axis": np.array([2]), "places": np.arange(5)},
            (1, 5),
        ),
        ([node("Relu", "t", "y")], {"t": table(2)}, (0, 10)),
    ],
)
def test_what_the_graph_does_with_integers_limits_them(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert input_ranges(model(nodes, IDS, constants)) == {"x": InputRange(*expected)}


def test_sizes_and_offsets_that_the_graph_computes_are_known() -> None:
    """The exporter's way: the position's offset is the sequence's length, computed from a shape."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s one", "length"),
        node("Add", "x length", "i"),
        node("Gather", "t i", "y"),
    ]
    constants = {"one": np.int64(1), "t": table(8)}
    assert input_ranges(model(nodes, IDS, constants)) == {"x": InputRange(0, 2)}


def test_lengths_and_axes() -> None:
    nodes = [
        node("LSTM", "s w r  lengths".replace("  ", " b "), "h", hidden_size=2),
        node("CumSum", "h axis", "y"),
    ]
    inputs = {"s": (FLOAT, [5, 1, 3]), "lengths": (TensorProto.INT32, [1]), "axis": (TensorProto.INT32, [])}
    weights = {
        "w": np.zeros((1, 8, 3), np.float32),
        "r": np.zeros((1, 8, 2), np.float32),
        "b": np.zeros((1, 16), np.float32),
    }
    assert input_ranges(model(nodes, inputs, weights)) == {"lengths": InputRange(1, 6), "axis": InputRange(0, 4)}


def test_subgraphs_and_functions_are_looked_into() -> None:
    branch = helper.make_graph(
        [node("Gather", "t x", "picked")], "branch", [], [helper.make_tensor_value_info("picked", FLOAT, None)]
    )
    looked_up = helper.make_function(
        "local",
        "LookUp",
        ["rows", "places"],
        ["row"],
        [node("Gather", "rows places", "row")],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        node("If", "flag", "a", then_branch=branch, else_branch=branch),
        node("LookUp", "t ids", "b", domain="local"),
        node("Add", "a b", "y"),
    ]
    inputs = {"flag": (BOOL, []), "x": (INT64, [1]), "ids": (INT64, [1])}
    ranges = input_ranges(model(nodes, inputs, {"t": table(3)}, [looked_up]))
    assert ranges == {"flag": ONES, "x": InputRange(0, 3), "ids": InputRange(0, 3)}


def test_floats_that_are_ids_or_masks_are_seen_others_left_alone() -> None:
    nodes = [
        node("Cast", "ids", "i", to=INT64),
        node("Gather", "t i", "g"),
        node("Sub", "one mask", "hidden"),
        node("Mul", "hidden huge", "m"),
        node("Add", "m scores", "n"),
        node("Concat", "g n", "y", axis=0),
    ]
    inputs = {"ids": (FLOAT, [4]), "mask": (FLOAT, [4, 4]), "scores": (FLOAT, [4, 4])}
    constants = {"t": table(3), "one": np.float32(1), "huge": np.float32(-1e9)}
    assert input_ranges(model(nodes, inputs, constants)) == {"ids": InputRange(0, 3), "mask": ONES}


@pytest.fixture
def two_tables(tmp_path: Path) -> Path:
    """Of 3 and of 5 rows, whose sum is looked up in a table of 4: only a user knows which pairs there are."""
    nodes = [
        node("Add", "a b", "i"),
        helper.make_node("Gather", ["t", "i"], ["y"], "table"),
    ]
    return save(tmp_path / "m.onnx", nodes, {"a": [2], "b": [2]}, ["y"], {"t": random_weights(4, 2)}, input_type=INT64)


def test_a_user_says_better(two_tables: Path, tmp_path: Path) -> None:
    ranged = input_sets(two_tables, SHAPES, InputValues(ranges={"a": (3, 4)}))
    assert [s["a"].tolist() for s in ranged] == [[3, 3]] * 3

    samples: dict[str, Any] = {"b/0": np.array([3, 3]), "b/1": np.array([0, 0])}
    np.savez(tmp_path / "s.npz", **samples)
    sets = input_sets(two_tables, SHAPES, InputValues(samples=tmp_path / "s.npz", ranges={"a": (0, 1)}))
    assert [{name: value.tolist() for name, value in s.items()} for s in sets] == [
        {"a": [0, 0], "b": [3, 3]},
        {"a": [0, 0], "b": [0, 0]},
    ]


def test_samples_of_other_sizes_belong_to_other_sets(tmp_path: Path) -> None:
    path = save(
        tmp_path / "open.onnx",
        [helper.make_node("Gather", ["t", "a"], ["y"])],
        {"a": ["n"]},
        ["y"],
        {"t": random_weights(4, 2)},
        input_type=INT64,
    )
    samples: dict[str, Any] = {"a/0": np.array([3, 3]), "a/1": np.array([2, 2, 2])}
    np.savez(tmp_path / "s.npz", **samples)
    given = InputValues(samples=tmp_path / "s.npz")
    assert [s["a"].tolist() for s in input_sets(path, {"a": (3,)}, given)] == [[2, 2, 2]]
    # Nobody brought any of this size.
    assert [s["a"].shape for s in input_sets(path, {"a": (5,)}, given)] == [(5,)] * 3


def test_refused_inputs_are_named_with_what_to_do(two_tables: Path) -> None:
    sets = [{"a": np.array([3, 0]), "b": np.array([3, 0])}]
    with pytest.raises(InvalidInput) as refused:
        list(answers(two_tables, SHAPES, sets))
    assert "refuses the values of 'a', 'b'" in str(refused.value)
    assert "--samples FILE.npz" in str(refused.value)
    assert "--range a=LOW:HIGH" in str(refused.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"c": np.array([0, 0])}, "no input is called 'c': the model has a, b"),
        ({"a": np.array([0, 0], np.int32)}, "'a' is int32, but the input is int64"),
        ({"a": np.array([0, 0, 0])}, "'a' is 3, but the input is 2"),
        ({"a": np.array(0)}, "'a' is a scalar, but the input is 2"),
        ({"a/0": np.array([0, 0]), "a/2": np.array([0, 0])}, r"'a' has sets \[0, 2\], but 2 are numbered from 0"),
        ({"a/0": np.array([0, 0]), "a/1": np.array([0, 0]), "b": np.array([0, 0])}, r"'b' has sets \[0\], but 2"),
        ({}, "0 sets of inputs"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    two_tables: Path, tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(InvalidInput, match=message):
        input_sets(two_tables, SHAPES, InputValues(samples=tmp_path / "s.npz"))
