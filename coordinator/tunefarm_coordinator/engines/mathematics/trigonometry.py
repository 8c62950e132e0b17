"""sin, cos and tan of float32.

x = n pi/2 + r in float64, pi/2 in three parts: exact enough where |n| is below 2^27, and with fused multiply-adds
below 2^50. What is larger counts as 0. sin r and cos r by polynomials; coefficients as in `exponentials`.
"""

from math import inf

from tunefarm_coordinator.engines.mathematics.vectors import (
    Value,
    absolute,
    as_bits,
    as_number,
    cast,
    fma,
    not_a_number,
    polynomial,
    select,
)

# 1.5 * 2^52: added, it leaves the nearest integer in the lowest bits.
_ROUNDER = 6755399441055744.0
_TWO_BY_PI = 0.6366197723675814
# pi/2: 26 bits, 26 bits, the rest.
_HALF_PI = (1.5707963109016418, 1.5893254712295857e-08, 6.1232339957367574e-17)
_GREATEST = 2.0**50
_SIN = (-0.166666672, 0.00833338033, -0.000198534981, 2.83724694e-06)
_COS = (0.0416666679, -0.00138889824, 2.4822968e-05, -2.89741649e-07)


def sin(x: Value) -> Value:
    quarter, sine, cosine = _parts(x)
    return _turned(x, quarter, cosine, sine)


def cos(x: Value) -> Value:
    quarter, sine, cosine = _parts(x)
    return _turned(x, quarter + 1, cosine, sine)


def tan(x: Value) -> Value:
    quarter, sine, cosine = _parts(x)
    odd = (quarter & 1).same(1)
    above = select(odd, 0.0 - cosine, sine)
    return _finite(x, above / select(odd, sine, cosine))


def _parts(x: Value) -> tuple[Value, Value, Value]:
    """(n, the lowest bits counting; sin r; cos r)"""
    near = select(absolute(x) < _GREATEST, x, 0.0)
    wide = cast("double", near)
    rounded = fma(wide, _TWO_BY_PI, _ROUNDER)
    whole = rounded - _ROUNDER
    rest = wide
    for part in _HALF_PI:
        rest = fma(whole, -part, rest)
    angle = cast("float", rest)
    quarter = cast("i32", as_bits(rounded))
    square = angle * angle
    sine = fma(angle * square, polynomial(_SIN, square), angle)
    below = fma(square, -0.5, square * square * polynomial(_COS, square))
    return quarter, sine, 1.0 + below


def _turned(x: Value, quarter: Value, odd: Value, even: Value) -> Value:
    size = select((quarter & 1).same(1), odd, even)
    sign = (quarter & 2) << 30
    return _finite(x, as_number(as_bits(size) ^ sign))


def _finite(x: Value, result: Value) -> Value:
    return select(absolute(x) < inf, result, not_a_number(x))
