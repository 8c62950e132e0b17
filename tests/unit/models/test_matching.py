"""The one rule by which outputs are the same."""

import numpy as np
import pytest

from tunefarm_coordinator.models.matching import match, relative_error, tolerance


def test_scale_is_the_greatest_expected_magnitude() -> None:
    expected = np.array([1000.0, 0.0], dtype=np.float32)
    assert match(np.array([1000.0, 0.9], dtype=np.float32), expected)
    assert not match(np.array([1000.0, 1.1], dtype=np.float32), expected)


def test_error_and_match_agree_at_the_bound() -> None:
    expected = np.array([2.0, -1.0], dtype=np.float32)
    bound = tolerance("float32").relative
    for factor in (0.9, 1.1):
        actual = expected + np.float32(factor * (2.0 * bound + tolerance("float32").absolute))
        assert match(actual, expected) == (relative_error(actual, expected) <= bound) == (factor < 1)


def test_tf32_has_a_tolerance_of_its_own_for_float32_alone() -> None:
    assert tolerance("float32").relative < tolerance("float32", tf32=True).relative < tolerance("float16").relative
    assert tolerance("float16", tf32=True) == tolerance("float16")
    assert tolerance("int64", tf32=True) == tolerance("int64")


def test_not_finite_values_have_to_be_in_the_same_places() -> None:
    expected = np.array([1.0, np.nan, np.inf], dtype=np.float32)
    assert match(expected.copy(), expected)
    assert not match(np.array([1.0, np.nan, -np.inf], dtype=np.float32), expected)
    assert not match(np.array([1.0, 0.0, np.inf], dtype=np.float32), expected)
    assert not match(np.array([np.nan, np.nan, np.inf], dtype=np.float32), expected)


def test_shapes_and_integers_are_exact() -> None:
    assert not match(np.zeros((2, 1), np.float32), np.zeros((1, 2), np.float32))
    assert relative_error(np.zeros(3, np.float32), np.zeros(2, np.float32)) == np.inf
    assert match(np.array([3]), np.array([3]))
    assert not match(np.array([3]), np.array([4]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "bool"])
def test_equal_is_no_error(dtype: str) -> None:
    values = np.array([0, 1, 1], dtype=dtype)
    assert match(values, values)
    assert relative_error(values, values) == 0.0


def test_empty_tensors_match() -> None:
    assert match(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))
