"""pow of float32: 2^(y log2 |x|) in float64, with what C's `powf` says of signs and special values.

Small whole exponents and halves that are constants are products and square roots.
"""

from math import inf

from tunefarm_coordinator.engines.mathematics.vectors import (
    SIGN,
    Value,
    absolute,
    as_bits,
    as_number,
    cast,
    clamped,
    floor,
    fma,
    not_a_number,
    polynomial,
    select,
    square_root,
)

_WIDE = "double"
_GREATEST_PRODUCT = 4
_ONE, _ROOT_HALF = 0x3FF0000000000000, 0x3FE6A09E667F3BCD
_MANTISSA_MASK, _MANTISSA = 0xFFFFFFFFFFFFF, 52
# 2^52 as bits: an integer below 2^52 put into its mantissa is that much more.
_COUNTER, _COUNTER_BITS = 4503599627370496.0, 0x4330000000000000
_BIAS = 1023
# 1.5 * 2^52: added, it leaves the nearest integer in the lowest bits.
_ROUNDER, _ROUNDER_BITS = 6755399441055744.0, 0x4338000000000000
# log2((1 + s) / (1 - s)) / s, by s^2
_LOG2 = (
    2.88539008177785,
    0.9617966941134095,
    0.5770779423478151,
    0.41220925401951714,
    0.3199056296455464,
    0.2829011434872464,
)
_EXP2 = (
    1.0,
    0.6931471805413589,
    0.24022651080439897,
    0.055504109637327693,
    0.009618036170052932,
    0.001333342976931647,
    0.00015467365424915125,
    1.531519386131064e-05,
)


def is_simple(exponent: float) -> bool:
    """Whether `simple_power` has this exponent."""
    return exponent == 0.5 or (exponent == int(exponent) and 0 < abs(exponent) <= _GREATEST_PRODUCT)


def simple_power(x: Value, exponent: float) -> Value:
    """By products, or as the square root."""
    if exponent == 0.5:
        # The roots of minus zero and minus infinity are plus zero and infinity here.
        return select(x.same(-inf), inf, square_root(x + 0.0))
    product = _product(x, abs(int(exponent)))
    return product if exponent > 0 else 1.0 / product


def _product(x: Value, count: int) -> Value:
    if count == 1:
        return x
    half = _product(x, count // 2)
    return half * half if count % 2 == 0 else half * half * x


def power(x: Value, y: Value) -> Value:
    size = absolute(x)
    logarithm = _log2(size)
    exponent = clamped(cast(_WIDE, y) * logarithm, -300.0, 300.0)
    raised = cast("float", _exp2(exponent))
    of_one = y.same(0.0) | (size.same(1.0) & absolute(y).same(inf))
    raised = select(of_one, 1.0, raised)
    below = floor(y)
    half = y * 0.5
    odd = below.same(y) & floor(half).differs(half)
    signed = as_number(as_bits(raised) | select(odd, as_bits(x) & SIGN, 0))
    undefined = (x < 0.0) & (x > -inf) & (below < y)
    return select(x.same(1.0), 1.0, select(undefined, not_a_number(x), signed))


def _log2(x: Value) -> Value:
    """In float64, of what is not negative: denormals of float32 are normal there."""
    wide = cast(_WIDE, x)
    code = as_bits(wide) + (_ONE - _ROOT_HALF)
    count = as_number((code >> _MANTISSA) | _COUNTER_BITS)
    near = as_number((code & _MANTISSA_MASK) + _ROOT_HALF)
    slope = (near - 1.0) / (near + 1.0)
    result = fma(slope, polynomial(_LOG2, slope * slope), count - (_COUNTER + _BIAS))
    finite = select(x < inf, result, wide)
    return select(x.same(0.0), -inf, finite)


def _exp2(x: Value) -> Value:
    rounded = x + _ROUNDER
    rest = x - (rounded - _ROUNDER)
    scale = (as_bits(rounded) - (_ROUNDER_BITS - _BIAS)) << _MANTISSA
    return polynomial(_EXP2, rest) * as_number(scale)
