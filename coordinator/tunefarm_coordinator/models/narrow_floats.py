"""Floats of 8 bits to float32 and back, by arithmetic: TVM's own conversions lose NaN, infinities and saturation.

The four formats and what ONNX makes of values that they don't hold: ONNX, operator Cast, "Float 8 types".
"""

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import te
from tvm.tirx import Select, const, reinterpret


@dataclass(frozen=True)
class Format:
    """`mantissa`: bits of it; `bias` of the exponent; `greatest`, `overflow`, `not_a_number`: codes without sign;
    `infinity`: the code, None where there is none; `signed_zero`: whether 0x80 is a zero (else NaN)."""

    mantissa: int
    bias: int
    greatest: int
    overflow: int
    not_a_number: int
    infinity: int | None
    signed_zero: bool


FORMATS = {
    "float8_e4m3fn": Format(3, 7, 0x7E, 0x7F, 0x7F, None, True),
    "float8_e4m3fnuz": Format(3, 8, 0x7F, 0x80, 0x80, None, False),
    "float8_e5m2": Format(2, 15, 0x7B, 0x7C, 0x7E, 0x7C, True),
    "float8_e5m2fnuz": Format(2, 16, 0x7F, 0x80, 0x80, None, False),
}
_SIGN, _FLOAT_BIAS, _FLOAT_MANTISSA = 0x80, 127, 23
_INFINITY, _NAN = 0x7F800000, 0x7FC00000


def decoded(value: Any, dtype: str) -> Any:
    """The float32 that an element of a narrow `dtype` is."""
    form = FORMATS[dtype]
    code = reinterpret("uint8", value).astype("uint32")
    size = code & _bits(0x7F)
    exponent, rest = size >> _bits(form.mantissa), size & _bits((1 << form.mantissa) - 1)
    bits = (exponent + _bits(_FLOAT_BIAS - form.bias)) << _bits(_FLOAT_MANTISSA)
    bits = bits | (rest << _bits(_FLOAT_MANTISSA - form.mantissa))
    small = rest.astype("float32") * const(2.0 ** (1 - form.bias - form.mantissa), "float32")
    bits = Select(exponent == _bits(0), reinterpret("uint32", small), bits)
    if not form.signed_zero:
        bits = Select(code == _bits(form.not_a_number), _bits(_NAN), bits)
    else:
        bits = Select(size > _bits(form.greatest), _bits(_NAN), bits)
    if form.infinity is not None:
        bits = Select(size == _bits(form.infinity), _bits(_INFINITY), bits)
    return reinterpret("float32", bits | ((code & _bits(_SIGN)) << _bits(24)))


def encoded(value: Any, dtype: str, *, saturate: bool = True) -> Any:
    """The element of a narrow `dtype` that is nearest to a float32, ties to even; what is too large becomes the
    greatest with `saturate`, else infinity or NaN."""
    form = FORMATS[dtype]
    bits = reinterpret("uint32", value)
    size = bits & _bits(0x7FFFFFFF)
    least = _FLOAT_BIAS + 1 - form.bias
    exponent = tvm.tirx.max(size >> _bits(_FLOAT_MANTISSA), _bits(least))
    # Exact: a power of two, which is normal for every exponent that there is.
    step = reinterpret("float32", (_bits(2 * _FLOAT_BIAS + form.mantissa) - exponent) << _bits(_FLOAT_MANTISSA))
    steps = tvm.tirx.nearbyint(reinterpret("float32", size) * step).astype("uint32")
    code = steps + ((exponent - _bits(least)) << _bits(form.mantissa))
    code = Select(code > _bits(form.greatest), _bits(form.greatest if saturate else form.overflow), code)
    code = Select(size > _bits(_INFINITY), _bits(form.not_a_number), code)
    sign = (bits >> _bits(24)) & _bits(_SIGN)
    code = code | sign if form.signed_zero else Select(code == _bits(0), code, code | sign)
    return reinterpret(dtype, code.astype("uint8"))


def _bits(value: int) -> Any:
    """Unsigned: arithmetic on signed integers is taken for that of indices, and widened to 64 bits."""
    return const(value, "uint32")


def converted(value: Any, dtype: str, *, saturate: bool = True) -> Any:
    """A `te` tensor in another dtype, of which one is narrow."""
    source = str(value.dtype)

    def element(*at: Any) -> Any:
        wide = decoded(value(*at), source) if source in FORMATS else value(*at).astype("float32")
        return encoded(wide, dtype, saturate=saturate) if dtype in FORMATS else wide.astype(dtype)

    return te.compute(value.shape, element, name="cast", tag="elemwise")
