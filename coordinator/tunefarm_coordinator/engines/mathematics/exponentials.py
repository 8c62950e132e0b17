"""exp, exp2, exp10, sigmoid, tanh, sinh, cosh and erf of float32.

exp: x = n ln 2 + r with |r| at most ln 2 / 2 (Cody and Waite), e^r by a polynomial, 2^n in two factors, so that
overflow and denormal results round as they should. tanh and erf: quotients of polynomials up to where float32 is 1.
Coefficients: fitted to the least relative error (Lawson's iteration), rounded to float32 one by one.
"""

from collections.abc import Callable

from tunefarm_coordinator.engines.mathematics.vectors import (
    Value,
    absolute,
    as_bits,
    as_number,
    clamped,
    fma,
    polynomial,
    quotient,
    select,
    with_sign_of,
)

# Added to a number of at most 22 bits it leaves the nearest integer in the lowest bits.
_ROUNDER = 12582912.0
_ROUNDER_BITS = 0x4B400000
_BIAS, _MANTISSA = 127, 23
# Makes the halves of exponents positive while they are shifted.
_LIFT = 128

_LOG2_E = 1.4426950408889634
# ln 2 in two: products of the first with exponents are exact.
_LN2 = (0.693359375, -2.12194440e-4)
_LOG2_10 = 3.3219280948873623
_LOG10_2 = (0.30078125, 2.4874566398119521e-4)
_LN_10 = 2.302585092994046
_EXP = (1.0, 1.0, 0.5, 0.166665196, 0.0416663848, 0.00836884882, 0.00139422168)
_EXP2 = (1.0, 0.693147182, 0.240226507, 0.0555035919, 0.00961806159, 0.00133912021, 0.000154633031)

# Minus this is the least argument of a normal result, to three digits.
_SIGMOID_END = 87.336
# From here on the result is 1.
_SIGMOID_ONE = 20.0
_TANH_END = 9.02
_TANH_P = (1.0, 0.133827165, 0.00349750463, 2.06371496e-05, 1.33872318e-08)
_TANH_Q = (1.0, 0.467160374, 0.0258845072, 0.00032886173, 7.7912199e-07)
_ERF_END = 3.93
_ERF_P = (1.12837911, 0.201658785, 0.0541592091, 0.00421898393, 0.000290169904, 1.90519472e-06)
_ERF_Q = (1.0, 0.512047172, 0.118687585, 0.0158912875, 0.00126265467, 3.6852809e-05)
_SINH = (0.166666672, 0.00833331142, 0.000198426351, 2.78392554e-06)


def exp(x: Value) -> Value:
    return _exp(x)


def exp2(x: Value) -> Value:
    def result(near: Value) -> Value:
        rounded = fma(near, 1.0, _ROUNDER)
        rest = near - (rounded - _ROUNDER)
        return _times_power(polynomial(_EXP2, rest), rounded)

    return _zero_below(-152.0, x, 129.0, result)


def exp10(x: Value) -> Value:
    def result(near: Value) -> Value:
        rounded, rest = _reduced(near, _LOG2_10, _LOG10_2)
        return _times_power(polynomial(_EXP, rest * _LN_10), rounded)

    return _zero_below(-46.0, x, 39.0, result)


def sigmoid(x: Value) -> Value:
    def result(near: Value) -> Value:
        rounded, rest = _reduced(0.0 - near, _LOG2_E, _LN2)
        # Neither a power of two nor what it is multiplied by is denormal or infinite here.
        power = as_number((as_bits(rounded) - (_ROUNDER_BITS - _BIAS)) << _MANTISSA)
        return quotient(1.0, 1.0 + polynomial(_EXP, rest) * power)

    return _zero_below(-_SIGMOID_END, x, _SIGMOID_ONE, result)


def tanh(x: Value) -> Value:
    return _odd_quotient(clamped(x, -_TANH_END, _TANH_END), _TANH_P, _TANH_Q)


def erf(x: Value) -> Value:
    return _odd_quotient(clamped(x, -_ERF_END, _ERF_END), _ERF_P, _ERF_Q)


def cosh(x: Value) -> Value:
    half = _exp(absolute(x), halved=1)
    return half + 0.25 / half


def sinh(x: Value) -> Value:
    size = absolute(x)
    half = _exp(size, halved=1)
    square = x * x
    small = fma(x * square, polynomial(_SINH, square), x)
    return select(size < 1.0, small, with_sign_of(x, half - 0.25 / half))


def _exp(x: Value, halved: int = 0) -> Value:
    """e^x, halved so many times; no overflow before the result has one."""

    def result(near: Value) -> Value:
        rounded, rest = _reduced(near, _LOG2_E, _LN2)
        return _times_power(polynomial(_EXP, rest), rounded, halved)

    return _zero_below(-105.0, x, 91.0, result)


def _zero_below(low: float, x: Value, high: float, result: Callable[[Value], Value]) -> Value:
    """0 below `low`, from `high` on its result. Zero is not reached by way of denormals, one of which takes a CPU as
    long as a hundred other numbers: what softmax masks lies there, and SiLU's larger arguments."""
    vanishes = x < low
    return select(vanishes, 0.0, result(select(vanishes, 0.0, clamped(x, low, high))))


def _reduced(x: Value, per_unit: float, unit: tuple[float, float]) -> tuple[Value, Value]:
    """(x * per_unit to an integer, as `_times_power` takes it; x without as many units)."""
    rounded = fma(x, per_unit, _ROUNDER)
    whole = rounded - _ROUNDER
    rest = fma(whole, -unit[1], fma(whole, -unit[0], x))
    return rounded, rest


def _times_power(value: Value, rounded: Value, halved: int = 0) -> Value:
    """value * 2^n, n in the lowest bits of `rounded`."""
    code = as_bits(rounded)
    half = (code - (_ROUNDER_BITS - 2 * _LIFT)) >> 1
    first = (half - (_LIFT - _BIAS)) << _MANTISSA
    second = ((code - half) - (_ROUNDER_BITS - _LIFT - _BIAS + halved)) << _MANTISSA
    return value * as_number(first) * as_number(second)


def _odd_quotient(x: Value, above: tuple[float, ...], below: tuple[float, ...]) -> Value:
    """x P(x^2) / Q(x^2), at most 1."""
    square = x * x
    return clamped(x * quotient(polynomial(above, square), polynomial(below, square)), -1.0, 1.0)
