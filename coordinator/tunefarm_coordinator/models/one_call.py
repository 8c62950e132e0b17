"""A CPU's model as one call: its kernels, in the order of the graph, called by machine code.

TVM's virtual machine takes a third of a microsecond for a kernel: an instruction each to allocate, to make a tensor, to
call, to let go, all through the packed calling convention. Of a recurrent model that was half of the time. What a
function of the graph does is known beforehand, sizes included: here it becomes a `Line`, steps on memory whose place is
known (`one_call_memory`), and that becomes a function (`one_call_code`). The virtual machine only calls the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import tvm
from tvm import relax

from tunefarm_coordinator.models.constants import is_constant, operator_name, static_shape


class NotStraight(Exception):
    """A function that does more than calling kernels of static shapes: it stays with the virtual machine."""


@dataclass(eq=False)
class Memory:
    """What values lie in.

    Attributes:
        shape, dtype: of the value that it was made for.
        given: its number among what the function is given; None for what a step makes.
        same: the memory that it turned out to be.
    """

    shape: tuple[int, ...]
    dtype: str
    given: int | None = None
    same: "Memory | None" = None

    def found(self) -> "Memory":
        return self if self.same is None else self.same.found()

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * (-(-int(tvm.runtime.DataType(self.dtype).bits) // 8))


@dataclass(frozen=True)
class Place:
    """A tensor: memory, and the shape that it is seen in."""

    memory: Memory
    shape: tuple[int, ...]


@dataclass(frozen=True)
class KernelCall:
    """`operands`: the kernel's parameters in order, its outputs last."""

    kernel: str
    operands: tuple[Memory, ...]


@dataclass(frozen=True)
class LineCall:
    """`operands`: what the line is given, what it gives, and its workspace."""

    line: "Line"
    operands: tuple[Memory, ...]


@dataclass(frozen=True)
class Choice:
    """One of two lists of steps, by a truth value in memory."""

    condition: Memory
    branches: tuple[list["Step"], list["Step"]]


@dataclass(frozen=True)
class Copy:
    source: Memory
    target: Memory


Step = KernelCall | LineCall | Choice | Copy


@dataclass(eq=False)
class Line:
    """A function as steps.

    Attributes:
        given: memory of its parameters, then of its constants.
        constants: the values of the latter.
        results: what it gives; memory that is given as well, or made.
        is_tuple: whether the function gives a tuple.
        offsets: byte of the line's workspace at which each value begins that it makes beside its results.
        workspace: bytes of the workspace, never 0.
    """

    name: str
    given: list[Memory]
    constants: list[Any]
    steps: list[Step]
    results: list[Place]
    is_tuple: bool
    offsets: dict[Memory, int] = field(default_factory=dict)
    workspace: int = 0

    def made(self) -> list[Memory]:
        """Memory of the results that is not given: what callers pass for them."""
        found = (place.memory.found() for place in self.results)
        return list(dict.fromkeys(memory for memory in found if memory.given is None))


class Lines:
    """Lines of a module's functions, each made once."""

    def __init__(self, mod: Any, place: Callable[[Line], None]) -> None:
        """`place`: sets a line's `offsets` and `workspace`."""
        self._mod, self._place = mod, place
        self._known: dict[str, Line] = {}

    def line(self, name: str) -> Line:
        """Raises NotStraight."""
        if name not in self._known:
            self._known[name] = _Walk(self, self._mod, name).line()
            self._place(self._known[name])
        return self._known[name]


_Value = Place | tuple[Any, ...]


class _Walk:
    """Through one function, from its first binding to its last."""

    def __init__(self, lines: Lines, mod: Any, name: str) -> None:
        self._lines, self._mod, self._name = lines, mod, name
        self._function = mod[name]
        self._given = [Memory(*_tensor(it.ty), given=at) for at, it in enumerate(self._function.params)]
        self._constants: dict[Any, Place] = {}
        self._values: dict[Any, _Value] = {
            parameter: Place(memory, memory.shape)
            for parameter, memory in zip(self._function.params, self._given, strict=True)
        }

    def line(self) -> Line:
        steps: list[Step] = []
        value = self._value(self._function.body, steps)
        constants = list(self._constants)
        return Line(self._name, self._given, constants, steps, _flat(value), isinstance(value, tuple))

    def _value(self, expr: Any, steps: list[Step]) -> _Value:
        if isinstance(expr, relax.Var):
            return self._values[expr]
        if isinstance(expr, relax.SeqExpr):
            for binding in (binding for block in expr.blocks for binding in block.bindings):
                if not isinstance(binding, relax.VarBinding):
                    raise NotStraight("sizes are matched")
                self._values[binding.var] = self._value(binding.value, steps)
            return self._value(expr.body, steps)
        if is_constant(expr):
            return self._constant(expr)
        if isinstance(expr, relax.Tuple):
            return tuple(self._value(field, steps) for field in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            whole = self._value(expr.tuple_value, steps)
            assert isinstance(whole, tuple)
            value: _Value = whole[expr.index]
            return value
        if isinstance(expr, relax.If):
            return self._choice(expr, steps)
        return self._call(expr, steps)

    def _constant(self, expr: Any) -> Place:
        if expr not in self._constants:
            memory = Memory(*_tensor(expr.ty), given=len(self._given))
            self._given.append(memory)
            self._constants[expr] = Place(memory, memory.shape)
        return self._constants[expr]

    def _call(self, expr: Any, steps: list[Step]) -> _Value:
        name = operator_name(expr)
        if name == "relax.call_tir" and len(expr.args) == 2:
            return self._kernel(expr, steps)
        if name == "relax.reshape":
            place = self._place(expr.args[0], steps)
            return Place(place.memory, _tensor(expr.ty)[0])
        if isinstance(expr, tvm.ir.Call) and isinstance(expr.op, tvm.ir.GlobalVar):
            return self._other(expr, steps)
        raise NotStraight(name or type(expr).__name__)

    def _kernel(self, expr: Any, steps: list[Step]) -> _Value:
        kernel, wanted = expr.args[0], expr.ty_args[0]
        read = [self._place(argument, steps).memory for argument in expr.args[1].fields]
        is_tuple = isinstance(wanted, relax.TupleType)
        written = [Memory(*_tensor(ty)) for ty in (wanted.fields if is_tuple else [wanted])]
        parameters = self._mod[kernel].params
        if len(parameters) != len(read) + len(written) or not all(map(_is_buffer, parameters)):
            raise NotStraight(f"{kernel.name_hint} takes more than tensors")
        steps.append(KernelCall(str(kernel.name_hint), (*read, *written)))
        places = tuple(Place(memory, memory.shape) for memory in written)
        return places if is_tuple else places[0]

    def _other(self, expr: Any, steps: list[Step]) -> _Value:
        line = self._lines.line(str(expr.op.name_hint))
        given = [self._place(argument, steps).memory for argument in expr.args]
        given += [self._constant(value).memory for value in line.constants]
        made = {memory: Memory(memory.shape, memory.dtype) for memory in line.made()}
        steps.append(LineCall(line, (*given, *made.values(), Memory((line.workspace,), "uint8"))))

        def outside(place: Place) -> Place:
            memory = place.memory.found()
            return Place(made[memory] if memory.given is None else given[memory.given], place.shape)

        places = tuple(map(outside, line.results))
        return places if line.is_tuple else places[0]

    def _choice(self, expr: Any, steps: list[Step]) -> _Value:
        condition = self._place(expr.cond, steps).memory
        branches: tuple[list[Step], list[Step]] = ([], [])
        values = [self._value(it, to) for it, to in zip((expr.true_branch, expr.false_branch), branches, strict=True)]
        results = [Memory(place.shape, place.memory.found().dtype) for place in _flat(values[0])]
        for value, inner in zip(values, branches, strict=True):
            made = {memory for step in inner for memory in _made(step)}
            for place, result in zip(_flat(value), results, strict=True):
                memory = place.memory.found()
                if memory in made:
                    memory.same = result
                    made.remove(memory)
                else:
                    inner.append(Copy(memory, result))
        steps.append(Choice(condition, branches))
        places = tuple(Place(memory, memory.shape) for memory in results)
        return places if isinstance(values[0], tuple) else places[0]

    def _place(self, expr: Any, steps: list[Step]) -> Place:
        value = self._value(expr, steps)
        if not isinstance(value, Place):
            raise NotStraight("a kernel that takes a tuple")
        return value


def _made(step: Step) -> Sequence[Memory]:
    """Memory of what a line gives: it may as well lie where a choice wants it."""
    if isinstance(step, LineCall):
        return step.operands[len(step.line.given) : -1]
    return ()


def _flat(value: _Value) -> list[Place]:
    if isinstance(value, Place):
        return [value]
    if not all(isinstance(field, Place) for field in value):
        raise NotStraight("a tuple of tuples")
    return list(value)


def _tensor(ty: Any) -> tuple[tuple[int, ...], str]:
    """(shape, dtype). Raises NotStraight for what has no static size, no elements, or several to a byte."""
    shape = static_shape(_Typed(ty))
    if shape is None or 0 in shape:
        raise NotStraight(f"a value of type {ty}")
    dtype = str(ty.dtype)
    if dtype != "bool" and int(tvm.runtime.DataType(dtype).bits) % 8:
        raise NotStraight(f"elements of type {dtype}")
    return shape, dtype


def _is_buffer(parameter: Any) -> bool:
    return isinstance(parameter.ty, tvm.tirx.BufferType)


@dataclass(frozen=True)
class _Typed:
    ty: Any
