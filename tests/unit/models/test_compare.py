"""Whole models' outputs: what is no difference, and how much of one is measured to be nobody's fault."""

import io
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import model_of
from tunefarm_coordinator.models.compare import Bound, bound_of, compare_outputs, fault_of
from tunefarm_coordinator.models.conditioning import SPREAD_FACTOR, bounds_of, note_of, shaken
from tunefarm_coordinator.models.reference_session import load_session, run_session

_EXACT = Bound(0.0, 0.0)


def archive(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_values_shapes_and_types_have_to_be_the_same() -> None:
    expected = np.array([1.0, -2.0], np.float32)
    bound = Bound(1e-3, 0.0)
    assert fault_of(expected + np.float32(1e-4), expected, bound) == ""
    assert fault_of(expected + np.float32(1e-2), expected, bound) == "is off by 0.01, where the greatest value is 2"
    assert fault_of(expected.astype(np.float64), expected, bound) == "is float64 instead of float32"
    assert fault_of(expected[:1], expected, bound) == "has 1 elements instead of 2"
    assert "NaN" in fault_of(np.array([1.0, np.nan], np.float32), expected, bound)


def test_single_steps_at_few_places_are_ties() -> None:
    expected = np.arange(1000, dtype=np.uint8)
    found = expected.copy()
    found[[3, 500]] += 1
    assert fault_of(found, expected, _EXACT) != ""
    assert fault_of(found, expected, Bound(0.0, 0.0, step=1.0)) == ""
    found[7] += 2
    assert fault_of(found, expected, Bound(0.0, 0.0, step=1.0)) != ""
    assert fault_of(expected + np.uint8(1), expected, Bound(0.0, 0.0, step=1.0)) != ""


def test_bounds_belong_to_an_output_in_every_set() -> None:
    reference = archive(s0_out0=np.ones(2, np.float32), s1_out0=np.ones(2, np.float32), s1_out1=np.ones(2, np.float32))
    actual = archive(
        s0_out0=np.ones(2, np.float32), s1_out0=np.ones(2, np.float32), s1_out1=np.full(2, 1.1, np.float32)
    )
    assert not compare_outputs(actual, reference).ok
    compared = compare_outputs(actual, reference, (Bound(1e-3, 0.0), Bound(0.2, 0.0)))
    assert compared.ok
    assert compared.max_rel_error == pytest.approx(0.1, rel=1e-3)


def test_the_bound_follows_what_two_programs_differ_by() -> None:
    model = model_of(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])],
        {"x": np.zeros(2, np.float32)},
        {"y": TensorProto.FLOAT, "z": TensorProto.FLOAT},
    )
    one = np.ones(2, np.float32)
    same, other = [[one, one], [one, one]], [[one, one], [one, np.float32(0.8) * one]]
    bounds = bounds_of(model, same, [same, other])
    assert [bound.widened for bound in bounds] == [False, True]
    assert bounds[1].relative == pytest.approx(SPREAD_FACTOR * 0.2)
    assert note_of(model, bounds).endswith("outputs may differ from its own: z by 0.8 of its greatest value")
    assert note_of(model, bounds[:1] * 2) == ""


def test_steps_of_quantised_outputs_are_known_and_no_ill_condition() -> None:
    quantised = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])
    model = model_of(
        [
            quantised,
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            helper.make_node("Reshape", ["d", "size"], ["y"]),
            helper.make_node("Exp", ["d"], ["z"]),
        ],
        {"x": np.zeros((1, 300), np.float32)},
        {"q": TensorProto.UINT8, "y": TensorProto.FLOAT, "z": TensorProto.FLOAT},
        {"scale": np.float32(0.5), "zero": np.uint8(128), "size": np.array([300])},
    )
    values: list[Any] = [np.zeros((1, 300), np.uint8), np.ones(300, np.float32), np.ones((1, 300), np.float32)]
    other = [value.copy() for value in values]
    other[0][0, 5] = 1
    other[1][5] = 1.5
    bounds = bounds_of(model, [values], [[other]])
    assert [bound.step for bound in bounds] == [1.0, 0.5, 0.0]
    assert bounds[0].relative == 0.0
    assert bounds[2].relative > 1e-3
    assert not any(bound.widened for bound in bounds)


def test_what_is_rounded_on_the_way_has_its_digits_at_the_end() -> None:
    """Of a model in float16 whose inputs and outputs are float32, and of one in float32 alone."""
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Tanh", ["half"], ["t"]),
        helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Tanh", ["x"], ["z"]),
    ]
    x = np.ones(4, np.float32)
    model = model_of(nodes, {"x": x}, {"y": TensorProto.FLOAT, "z": TensorProto.FLOAT})
    values = [np.full(4, 0.75, np.float32)] * 2
    rounded, plain = bounds_of(model, [values], [[values]])
    assert (rounded.relative, plain.relative) == (bound_of("float16").relative, bound_of("float32").relative)
    assert not rounded.widened


def test_an_ill_conditioned_model_is_found_out_by_inputs_that_are_all_but_equal() -> None:
    """A small difference of large numbers, and the place of the smallest of numbers that are nearly the same."""
    nodes = [
        helper.make_node("Sub", ["x", "large"], ["near"], "near"),
        helper.make_node("ArgMin", ["x"], ["at"], "at", axis=0, keepdims=0),
    ]
    inputs = [np.full(64, 1e4, np.float32)]
    outputs = {"near": TensorProto.FLOAT, "at": TensorProto.INT64}
    model = model_of(nodes, {"x": inputs[0]}, outputs, {"large": np.float32(9999.0)})
    session = load_session(model.SerializeToString(), optimised=False)
    plain, other = run_session(session, inputs), run_session(session, shaken(inputs))
    near, at = bounds_of(model, [plain], [[other]])
    assert near.widened
    assert near.relative > 1e-2
    # The place was the first of all alike, and now is another: to be held to it would be chance.
    assert plain[1] == 0 != other[1]
    assert at.absolute == SPREAD_FACTOR * other[1]
    assert "near by 0.0" in note_of(model, [near, at])
