"""log, log2, log10 and log1p of float32.

x = 2^n (1 + f) with 1 + f between the square roots of 1/2 and 2; log(1 + f) = f - f^2/2 + f^3 P(f). Coefficients as in
`exponentials`.
"""

from math import inf

from tunefarm_coordinator.engines.mathematics.vectors import (
    Value,
    as_bits,
    as_number,
    fma,
    not_a_number,
    polynomial,
    select,
)

_LOG = (
    0.333333105,
    -0.249999866,
    0.200022236,
    -0.166692495,
    0.142187163,
    -0.12384402,
    0.118726194,
    -0.117893703,
    0.0691561252,
)
_ONE, _ROOT_HALF = 0x3F800000, 0x3F3504F3
_MANTISSA_MASK, _EXPONENT_MASK, _MANTISSA = 0x7FFFFF, 0xFF800000, 23
# 2^23 as bits: an integer below 2^23 put into its mantissa is that much more.
_COUNTER, _COUNTER_BITS = 8388608.0, 0x4B000000
_BIAS = 127.0
_LEAST_NORMAL = 1.1754943508222875e-38
# Constants in two: products of the first with exponents are exact.
_LN2 = (0.693359375, -2.12194440e-4)
_LOG10_2 = (0.30078125, 2.4874566398119521e-4)
_LOG10_E = (0.43359375, 7.0073190325182763e-4)
_LOG2_E_ABOVE_1 = 0.44269504088896341


def log(x: Value) -> Value:
    power, rest = _split(x)
    return _special(x, _of_parts(power, rest, _tail(rest)))


def log2(x: Value) -> Value:
    power, rest = _split(x)
    tail = _tail(rest)
    more = fma(rest, _LOG2_E_ABOVE_1, fma(tail, _LOG2_E_ABOVE_1, tail))
    return _special(x, more + rest + power)


def log10(x: Value) -> Value:
    power, rest = _split(x)
    tail = _tail(rest)
    (high, low), (most, least) = _LOG10_E, _LOG10_2
    small = fma(power, least, fma(tail, high, (rest + tail) * low))
    return _special(x, fma(power, most, fma(rest, high, small)))


def log1p(x: Value) -> Value:
    """What 1 + x loses is added to the fraction again."""
    whole = x + 1.0
    lost = select(x > 1.0, 1.0 - (whole - x), x - (whole - 1.0))
    code = as_bits(whole) + (_ONE - _ROOT_HALF)
    power = _power(code)
    # 2^-n, or 0 where that is too small to matter
    power_bits = code & _EXPONENT_MASK
    scale = as_number(2 * _ONE - select(power_bits > 2 * _ONE, 2 * _ONE, power_bits))
    rest = fma(lost, scale, _fraction(code))
    result = _of_parts(power, rest, _tail(rest))
    return select(x.same(0.0), x, _special(whole, result))


def _split(x: Value) -> tuple[Value, Value]:
    """(n, f) of a positive, finite x; denormals are made normal first."""
    small = x < _LEAST_NORMAL
    normal = select(small, x * _COUNTER, x)
    code = as_bits(normal) + (_ONE - _ROOT_HALF)
    power = _power(code)
    return select(small, power - float(_MANTISSA), power), _fraction(code)


def _power(code: Value) -> Value:
    return as_number((code >> _MANTISSA) | _COUNTER_BITS) - (_COUNTER + _BIAS)


def _fraction(code: Value) -> Value:
    return as_number((code & _MANTISSA_MASK) + _ROOT_HALF) - 1.0


def _tail(rest: Value) -> Value:
    """log(1 + f) - f"""
    square = rest * rest
    return fma(square, -0.5, square * rest * polynomial(_LOG, rest))


def _of_parts(power: Value, rest: Value, tail: Value) -> Value:
    return fma(power, _LN2[0], rest + fma(power, _LN2[1], tail))


def _special(x: Value, result: Value) -> Value:
    finite = select(x < inf, result, x)
    return select(x.same(0.0), -inf, select(x < 0.0, not_a_number(x), finite))
