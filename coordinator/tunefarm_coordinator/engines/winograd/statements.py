"""Words in which a program's loops are written down: float32 buffers, 64-bit indices."""

from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx import BufferLoad, BufferRegion, BufferStore, For, ForKind, SeqStmt


def number(value: int) -> Any:
    """An index."""
    return tirx.IntImm("int64", value)


def variable(name: str) -> Any:
    """Of a loop or an axis."""
    return tirx.Var(name, "int64")


def buffer(name: str, *shape: int) -> Any:
    """Of float32."""
    return tirx.decl_buffer([number(size) for size in shape], "float32", name)


def _index(value: Any) -> Any:
    return number(value) if isinstance(value, int) else value


def at(buffer: Any, *indices: Any) -> Any:
    """An element."""
    return BufferLoad(buffer, [_index(each) for each in indices])


def store(buffer: Any, value: Any, *indices: Any) -> Any:
    """Sets an element."""
    return BufferStore(buffer, value, [_index(each) for each in indices])


def region(buffer: Any, *places: Any) -> Any:
    """Of a buffer: (begin, extent), or one place."""
    spans = [place if isinstance(place, tuple) else (place, 1) for place in places]
    ranges = [tvm.ir.Range.from_min_extent(_index(begin), number(extent)) for begin, extent in spans]
    return BufferRegion(buffer, ranges)


def conjunction(conditions: Sequence[Any]) -> Any:
    """Of one condition or more."""
    whole = conditions[0]
    for condition in conditions[1:]:
        whole = tirx.And(whole, condition)
    return whole


def loop(extent: int, body: Callable[[Any], Any], kind: int = ForKind.SERIAL) -> Any:
    """All values of a new variable below `extent`."""
    counter = variable("i")
    return For(counter, number(0), number(extent), kind, body(counter))


def unrolled(extent: int, body: Callable[[Any], Any]) -> Any:
    """A loop whose steps are written out."""
    return loop(extent, body, ForKind.UNROLLED)


def vector(lanes: int, body: Callable[[Any], Any]) -> Any:
    """A loop whose steps are the lanes of a vector."""
    return loop(lanes, body, ForKind.VECTORIZED)


def vectors(extent: int, lanes: int, body: Callable[[Any], Any]) -> Any:
    """All of an axis, one vector after the other."""
    return loop(extent // lanes, lambda outer: vector(lanes, lambda lane: body(outer * number(lanes) + lane)))


def scope(name: str, steps: Sequence[Any], buffers: Sequence[Any]) -> Any:
    """Statements with buffers of their own."""
    return SBlockRealize([], True, SBlock([], [], [], name, SeqStmt(list(steps)), None, list(buffers)))
