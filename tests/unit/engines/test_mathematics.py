"""Vector mathematics: as exact as stated over the whole range of float32, and vectors on every CPU."""

import ctypes
import platform
import re

import numpy as np
import pytest
import tvm

from tests.mathematics import Array, applied, built, edges, errors, floats, pairs, raised, reference
from tunefarm_coordinator.engines.mathematics.lowering import FUNCTIONS

# FE_UNDERFLOW of an x86 CPU: a result was denormal.
_UNDERFLOW = 0x10
_TRIGONOMETRIC = ("sin", "cos", "tan")
# Beyond this they take their argument for 0 (docs/mathematics.md).
_GREATEST_ANGLE = 2.0**50
_TARGETS = (
    '{"kind":"llvm","mtriple":"x86_64-linux-gnu","mcpu":"haswell","num-cores":2}',
    '{"kind":"llvm","mtriple":"x86_64-linux-gnu","mcpu":"sapphirerapids","num-cores":2}',
    '{"kind":"llvm","mtriple":"aarch64-linux-gnu","mcpu":"cortex-a72","mattr":["+neon"],"num-cores":4}',
)
_LIBM = re.compile(
    r"\b(?:tunefarm_\w+|exp\d*|log\w*|pow|sin|cos|tanh?|erf|fma|floor|nearbyint|rint)f?(?:@|$)", re.MULTILINE
)


def _arguments(name: str) -> tuple[Array, ...]:
    if name == "pow":
        return pairs(4_000)
    values = np.concatenate([edges(), floats(262_139, 7)])
    if name in _TRIGONOMETRIC:
        values = values[~(np.abs(values) >= _GREATEST_ANGLE) | np.isinf(values)]
    if name == "sigmoid":
        values = values[~((values < np.float32(-87.336)) & (values > -105))]
    return (values,)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_are_what_is_stated(name: str) -> None:
    values = _arguments(name)
    assert errors(applied(name, *values), reference(name, *values)).max() <= FUNCTIONS[name].error


def test_sigmoid_vanishes_where_its_results_are_denormal() -> None:
    values = np.linspace(-105, -87, 1001, dtype=np.float32)
    found = applied("sigmoid", values)
    assert found[0] == 0
    assert np.all(np.diff(found) >= 0)
    assert np.abs(found - reference("sigmoid", values)).max() < 2.0**-126


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads the flags of an x86 CPU")
@pytest.mark.parametrize("name", ["exp", "exp2", "exp10", "sigmoid"])
def test_what_vanishes_is_not_denormal_on_the_way(name: str) -> None:
    """A vector with one denormal number takes a hundred cycles."""
    library = built(name, 64)
    values = np.array([1.0, -160.0, 25.0, -1e30, 38.0, -200.0, 30.0, -np.inf] * 8, np.float32)
    given, output = tvm.runtime.tensor(values), tvm.runtime.tensor(np.zeros_like(values))
    flags = ctypes.CDLL("libm.so.6")
    flags.feclearexcept(_UNDERFLOW)
    library["main"](given, output)
    assert flags.fetestexcept(_UNDERFLOW) == 0
    assert list(output.numpy()[1::2]) == [0.0] * 32


@pytest.mark.parametrize("name", ["tanh", "erf", "sin", "cos", "sigmoid"])
def test_bounded_functions_stay_in_their_bounds(name: str) -> None:
    values = np.concatenate([edges(), floats(524_287), np.array([2.0**50, 1e38, -1e38], np.float32)])
    assert np.nanmax(np.abs(applied(name, values))) <= 1


def test_zeros_keep_their_signs_where_float32_tells_them_apart() -> None:
    zeros = np.array([0.0, -0.0], np.float32)
    for name in ("tanh", "erf", "sinh", "log1p"):
        assert list(np.signbit(applied(name, zeros))) == [False, True], name


def test_powers_have_the_signs_of_c() -> None:
    base, exponent = pairs(2_000)
    found, expected = applied("pow", base, exponent), reference("pow", base, exponent)
    told = ~np.isnan(expected)
    assert np.array_equal(np.signbit(found[told]), np.signbit(expected[told]))


@pytest.mark.parametrize(("exponent", "error"), [(3, 3), (-4, 4), (0.5, 0.51), (2.2, 0.51), (-1.5, 0.51)])
def test_powers_of_constant_exponents(exponent: float, error: float) -> None:
    values = np.concatenate([edges(), floats(1_048_575)])
    expected = reference("pow", values, np.full_like(values, exponent))
    found = errors(raised(values, exponent), expected)
    # Of what is smaller, the inverse is taken of what is infinite already.
    assert found[~(np.abs(expected) < 2.0**-126)].max() <= error


@pytest.mark.parametrize("name", ["exp", "erf", "log"])
def test_float16_is_rounded_once(name: str) -> None:
    codes = np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(np.float16)
    found = applied(name, codes)
    with np.errstate(all="ignore"):
        expected = reference(name, codes).astype(np.float16)
    ordered = [np.where(np.isnan(it), 0, it).view(np.int16).astype(int) for it in (found, expected)]
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.abs(ordered[0] - ordered[1]).max() <= 1


@pytest.mark.parametrize("target", _TARGETS, ids=["avx2", "avx512", "neon"])
@pytest.mark.parametrize("name", ["exp", "erf", "log", "pow"])
def test_every_cpu_computes_vectors(name: str, target: str) -> None:
    assert _LIBM.search(built(name, 4096, target=target, exact=True).inspect_source("asm"))
    assert not _LIBM.search(built(name, 4096, target=target).inspect_source("asm"))


@pytest.mark.parametrize("name", ["erf", "log1p"])
def test_what_tvm_takes_lane_by_lane_is_one_vector(name: str) -> None:
    """LLVM would put its loop together again, but in half as wide vectors on CPUs that it knows as AVX-512."""
    assert re.search(r"f(?:ma|muladd)\.v(?:16|32|64)f32", built(name, 4096, target=_TARGETS[1]).inspect_source("ll"))


def test_float64_keeps_libm() -> None:
    assert _LIBM.search(built("erf", 64, "float64").inspect_source("asm"))
    assert _LIBM.search(built("exp", 64, "float64").inspect_source("asm"))
