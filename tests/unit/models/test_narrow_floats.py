"""Floats of 8 bits, against what `ml_dtypes` makes of every code and of floats of every size."""

from typing import Any

import ml_dtypes  # noqa: F401 - NumPy knows the types by name from then on
import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import te
from tvm.target import Target

from tunefarm_coordinator.models.narrow_floats import FORMATS, converted
from tunefarm_coordinator.models.target import host_target

# The greatest of each, by ONNX's page on them.
FINITE = {"float8_e4m3fn": 448.0, "float8_e4m3fnuz": 240.0, "float8_e5m2": 57344.0, "float8_e5m2fnuz": 57344.0}


def _convert(value: NDArray[Any], dtype: str, *, saturate: bool = True) -> NDArray[Any]:
    given = te.placeholder(value.shape, str(value.dtype), name="x")
    kernel = te.create_prim_func([given, converted(given, dtype, saturate=saturate)])
    library = tvm.tirx.build(
        tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")}), target=Target(host_target())
    )
    output = tvm.runtime.empty(value.shape, dtype)
    library["main"](tvm.runtime.tensor(value), output)
    found: NDArray[Any] = output.numpy()
    return found


def _floats(dtype: str) -> NDArray[Any]:
    """Of any bits; every value of `dtype`, and the middle between neighbours, where ties are."""
    codes = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    values = np.sort(codes[np.isfinite(codes)])
    middles = (values[1:] + values[:-1]) / 2
    random = np.random.default_rng(0).integers(0, 2**32, 5000, dtype=np.uint32).view(np.float32)
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 464.0, 464.1, 61440.0, 1e38, 1e-45]
    return np.concatenate(
        [values, middles, np.nextafter(middles, np.float32(0)), random, np.array(special, np.float32)]
    )


def _same(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    one, other = found.astype(np.float32), expected.astype(np.float32)
    return np.array_equal(one, other, equal_nan=True) and np.array_equal(
        np.signbit(one)[~np.isnan(one)], np.signbit(other)[~np.isnan(other)]
    )


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_code_is_read(dtype: str) -> None:
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    assert _same(_convert(codes, "float32"), codes.astype(np.float32))


@pytest.mark.parametrize("dtype", FORMATS)
def test_floats_are_rounded_to_the_nearest(dtype: str) -> None:
    with np.errstate(all="ignore"):
        floats = _floats(dtype)
        assert _same(_convert(floats, dtype, saturate=False), floats.astype(dtype))


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_is_too_large_becomes_the_greatest(dtype: str) -> None:
    greatest = FINITE[dtype]
    floats = np.array([np.inf, -np.inf, 2 * greatest, -3e38, greatest, np.nan], np.float32)
    found = _convert(floats, dtype).astype(np.float32)
    assert found[:5].tolist() == [greatest, -greatest, greatest, -greatest, greatest]
    assert np.isnan(found[5])
