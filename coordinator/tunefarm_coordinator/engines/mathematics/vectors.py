"""Values of LLVM's, one for each lane, and what the functions are made of: arithmetic, bits, choices.

Every operation here has vector instructions on every CPU. Python's numbers stand for constants of the other operand's
kind; kinds are "float", "double", "i32", "i64" and "i1". Integers wrap around.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_FLOATS = ("float", "double")
# Comparisons of integers, which have no signs here.
_INTEGERS = {"lt": "ult", "gt": "ugt", "eq": "eq", "ne": "ne"}
# How intrinsics name kinds.
_SHORT = {"float": "f32", "double": "f64", "i32": "i32", "i64": "i64"}
NOT_A_NUMBER = 0x7FC00000
# Less a number's bits: those of its reciprocal, about.
_RECIPROCAL = 0x7EF311C7
SIGN = 0x80000000


class Code:
    """Instructions of one function over `lanes` elements, and the intrinsics that they call."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.lines: list[str] = []
        self.declarations: set[str] = set()

    def of(self, kind: str) -> str:
        """LLVM's type."""
        return kind if self.lanes == 1 else f"<{self.lanes} x {kind}>"

    def emit(self, kind: str, instruction: str) -> "Value":
        """The result of an instruction."""
        name = f"%t{len(self.lines)}"
        self.lines.append(f"{name} = {instruction}")
        return Value(self, name, kind)

    def intrinsic(self, name: str, *values: "Value") -> "Value":
        """The result of an intrinsic whose arguments and result are of one kind."""
        kind = values[0].kind
        lanes = "" if self.lanes == 1 else f"v{self.lanes}"
        called = f"@llvm.{name}.{lanes}{_SHORT[kind]}"
        of = self.of(kind)
        self.declarations.add(f"declare {of} {called}({', '.join([of] * len(values))})")
        return self.emit(kind, f"call {of} {called}({', '.join(f'{of} {value.name}' for value in values)})")

    def constant(self, number: float, kind: str) -> "Value":
        text = _literal(number, kind)
        return Value(self, text if self.lanes == 1 else f"splat ({kind} {text})", kind)


@dataclass(frozen=True, eq=False)
class Value:
    """Arithmetic of these emits instructions."""

    code: Code
    name: str
    kind: str

    def __add__(self, other: "Operand") -> "Value":
        return self._with("add", self, other)

    def __radd__(self, other: float) -> "Value":
        return self._with("add", other, self)

    def __sub__(self, other: "Operand") -> "Value":
        return self._with("sub", self, other)

    def __rsub__(self, other: float) -> "Value":
        return self._with("sub", other, self)

    def __mul__(self, other: "Operand") -> "Value":
        return self._with("mul", self, other)

    def __rmul__(self, other: float) -> "Value":
        return self._with("mul", other, self)

    def __truediv__(self, other: "Operand") -> "Value":
        return self._with("div", self, other)

    def __rtruediv__(self, other: float) -> "Value":
        return self._with("div", other, self)

    def __and__(self, other: "Operand") -> "Value":
        return self._with("and", self, other)

    def __or__(self, other: "Operand") -> "Value":
        return self._with("or", self, other)

    def __xor__(self, other: "Operand") -> "Value":
        return self._with("xor", self, other)

    def __lshift__(self, count: int) -> "Value":
        return self._with("shl", self, count)

    def __rshift__(self, count: int) -> "Value":
        return self._with("lshr", self, count)

    def __lt__(self, other: "Operand") -> "Value":
        return self._compared("lt", other)

    def __gt__(self, other: "Operand") -> "Value":
        return self._compared("gt", other)

    def same(self, other: "Operand") -> "Value":
        """Whether it equals `other`; NaN equals nothing."""
        return self._compared("eq", other)

    def differs(self, other: "Operand") -> "Value":
        """Whether it is another number; False for NaN."""
        return self._compared("ne", other)

    def _with(self, operation: str, left: "Operand", right: "Operand") -> "Value":
        one, other = self.like(left), self.like(right)
        prefix = "f" if self.kind in _FLOATS else ""
        return self.code.emit(self.kind, f"{prefix}{operation} {self.code.of(self.kind)} {one.name}, {other.name}")

    def _compared(self, how: str, other: "Operand") -> "Value":
        instruction = f"fcmp o{how}" if self.kind in _FLOATS else f"icmp {_INTEGERS[how]}"
        text = f"{instruction} {self.code.of(self.kind)} {self.name}, {self.like(other).name}"
        return self.code.emit("i1", text)

    def like(self, other: "Operand") -> "Value":
        """The operand as a value of this one's kind."""
        return other if isinstance(other, Value) else self.code.constant(other, self.kind)


Operand = Value | float


def select(condition: Value, yes: Operand, no: Operand) -> Value:
    """Element by element; one of the two is a value."""
    typed = yes if isinstance(yes, Value) else no
    assert isinstance(typed, Value)
    of = typed.code.of(typed.kind)
    chosen = f"{condition.code.of('i1')} {condition.name}, {of} {typed.like(yes).name}, {of} {typed.like(no).name}"
    return typed.code.emit(typed.kind, f"select {chosen}")


def fma(left: Value, right: Operand, summand: Operand) -> Value:
    """left * right + summand, rounded once where the CPU can, else twice."""
    return left.code.intrinsic("fmuladd", left, left.like(right), left.like(summand))


def quotient(dividend: Operand, divisor: Value) -> Value:
    """Of a positive normal divisor below 2^126, by products and sums: CPUs take longer to divide a vector.

    The reciprocal is estimated from the divisor's bits (to 5%), and made exact to 7e-6 by two of Newton's steps; the
    quotient by what it leaves over.
    """
    inverse = as_number(_RECIPROCAL - as_bits(divisor))
    for _ in range(2):
        inverse = inverse * fma(0.0 - divisor, inverse, 2.0)
    above = divisor.like(dividend)
    near = above * inverse
    return fma(fma(0.0 - divisor, near, above), inverse, near)


def absolute(x: Value) -> Value:
    return x.code.intrinsic("fabs", x)


def square_root(x: Value) -> Value:
    return x.code.intrinsic("sqrt", x)


def floor(x: Value) -> Value:
    return x.code.intrinsic("floor", x)


def polynomial(coefficients: Sequence[float], x: Value) -> Value:
    """Coefficients from the lowest power on."""
    value = x.like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = fma(value, x, coefficient)
    return value


def clamped(x: Value, least: float, greatest: float) -> Value:
    """NaN stays NaN."""
    return select(x < least, least, select(x > greatest, greatest, x))


def cast(kind: str, x: Value) -> Value:
    """Between floats, and to integers of fewer bits."""
    how = {"double": "fpext", "float": "fptrunc", "i32": "trunc"}[kind]
    return _converted(how, kind, x)


def as_bits(x: Value) -> Value:
    return _converted("bitcast", {"float": "i32", "double": "i64"}[x.kind], x)


def as_number(x: Value) -> Value:
    return _converted("bitcast", {"i32": "float", "i64": "double"}[x.kind], x)


def not_a_number(like: Value) -> Value:
    return as_number(as_bits(like).like(NOT_A_NUMBER))


def with_sign_of(sign: Value, size: Value) -> Value:
    """`size`, which is not negative, with the sign of `sign`."""
    return as_number(as_bits(size) | (as_bits(sign) & SIGN))


def _converted(how: str, kind: str, x: Value) -> Value:
    return x.code.emit(kind, f"{how} {x.code.of(x.kind)} {x.name} to {x.code.of(kind)}")


def _literal(number: Any, kind: str) -> str:
    if kind not in _FLOATS:
        return str(int(number))
    if kind == "float":
        number = struct.unpack("f", struct.pack("f", number))[0]
    return f"0x{struct.unpack('>Q', struct.pack('>d', number))[0]:016X}"
