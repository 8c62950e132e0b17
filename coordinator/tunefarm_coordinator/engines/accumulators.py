"""A tile's accumulators as single vectors, which LLVM keeps in registers.

TVM puts a temporary of 1 KiB or more on the heap (kMaxStackAlloca). There LLVM can't tell that nobody else reads it:
the largest tiles stored all their accumulators every few steps, and took a third longer. Once loops are unrolled, each
accumulator is a vector at a place known beforehand, so that it can be a variable of its own. Behind a row's last whole
register, a tile uses the beginning of an accumulator's vector only.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm.ir import TensorLoad, Var
from tvm.tirx import AllocBuffer, BufferStore, DeclBuffer, IntImm, PrimFunc, Ramp, SeqStmt, decl_buffer

# With more vectors it is no tile's: no CPU has so many registers.
_MOST = 64
_MOST_LANES = 16


@dataclass(frozen=True)
class _Access:
    """Elements of a temporary that are read or written together, by one of its names."""

    name: Any
    begin: int
    end: int
    stores: bool


@dataclass(frozen=True)
class _Pieces:
    """A temporary as several: where each begins, in ascending order, and its buffer. `name`: which is allocated."""

    name: Any
    begins: list[int]
    buffers: list[Any]

    def place(self, index: Any) -> tuple[Any, Any]:
        """The buffer that has what is found at `index` of the temporary, and the index in it."""
        span = _span(index)
        assert span is not None  # or it would not be in pieces
        first, _ = span
        at = bisect_right(self.begins, first) - 1
        own = first - self.begins[at]
        return self.buffers[at], Ramp(own, 1, index.lanes) if isinstance(index, Ramp) else own


def apart(function: PrimFunc) -> PrimFunc:
    """The lowered function with each temporary whose vectors are read and written one by one, at places known
    beforehand, as so many temporaries."""
    pieces = _pieces(function)
    if not pieces:
        return function

    def load(access: Any) -> Any:
        own = pieces.get(access.source)
        if own is None:
            return access
        buffer, index = own.place(access.indices[0])
        return buffer[index]

    def store(access: Any) -> Any:
        own = pieces.get(access.buffer)
        if own is None:
            return access
        buffer, index = own.place(access.indices[0])
        return BufferStore(buffer, access.value, [index])

    def sequence(statements: Any) -> Any:
        parts: list[Any] = []
        for each in statements.seq:
            own = pieces.get(each.buffer) if isinstance(each, AllocBuffer | DeclBuffer) else None
            if own is None:
                parts.append(each)
            elif own.name.same_as(each.buffer):
                parts.extend(AllocBuffer(piece) for piece in own.buffers)
        return SeqStmt(parts) if len(parts) > 1 else parts[0]

    return tvm_ffi.structural_map(function, [(TensorLoad, load), (BufferStore, store), (SeqStmt, sequence)])


def _pieces(function: PrimFunc) -> dict[Any, _Pieces]:
    """By each name of a buffer of a few vectors, of which nothing but single vectors is used: a buffer for each."""
    named: dict[Any, Any] = {}
    uses: Counter[Any] = Counter()
    plain: Counter[Any] = Counter()
    accesses: defaultdict[Any, list[_Access]] = defaultdict(list)

    def sequence(statements: Any) -> None:
        for each in statements.seq:
            if isinstance(each, AllocBuffer) and _is_small(each.buffer):
                named[each.buffer] = each.buffer
                plain[each.buffer] += 1
            elif isinstance(each, DeclBuffer) and _names_all_of(each, named):
                named[each.buffer] = named[each.data.args[0]]
                plain.update([each.buffer, each.data.args[0]])

    def access(node: Any) -> None:
        buffer = node.source if isinstance(node, TensorLoad) else node.buffer
        span = _span(node.indices[0]) if len(node.indices) == 1 else None
        if span is not None and buffer in named:
            plain[buffer] += 1
            accesses[named[buffer]].append(_Access(buffer, *span, stores=isinstance(node, BufferStore)))

    def variable(node: Any) -> None:
        if node in named:
            uses[node] += 1

    tvm_ffi.structural_walk(function, (SeqStmt, sequence), order="pre")
    if not named:
        return {}
    # A store comes behind the loads of what it stores.
    tvm_ffi.structural_walk(function, [((TensorLoad, BufferStore), access), (Var, variable)], order="post")
    otherwise = {named[name] for name in named if plain[name] != uses[name]}
    found: dict[Any, _Pieces] = {}
    for buffer in set(named.values()) - otherwise:
        names = [name for name in named if named[name].same_as(buffer)]
        groups = [[name] for name in names] if _follow(accesses[buffer]) else [names]
        made = {name: pieces for group in groups for pieces in [_parts(group, accesses[buffer])] for name in group}
        if all(1 < len(pieces.buffers) <= _MOST for pieces in made.values()):
            found.update(made)
    return found


def _follow(accesses: list[_Access]) -> bool:
    """Whether names of the same memory have nothing to do with each other: TVM gives memory that has been done with
    another name. Each is done with before the next one begins, and reads only what was stored by itself."""
    runs = [
        name
        for at, name in enumerate(each.name for each in accesses)
        if not at or not name.same_as(accesses[at - 1].name)
    ]
    stored: set[tuple[Any, int, int]] = set()
    for each in accesses:
        key = each.name, each.begin, each.end
        if each.stores:
            stored.add(key)
        elif key not in stored:
            return False
    return len(runs) == len(set(runs))


def _names_all_of(declared: Any, buffers: Any) -> bool:
    """Whether a declaration gives all of one of the buffers another name."""
    arguments: Any = getattr(declared.data, "args", ())
    if len(arguments) != 1 or arguments[0] not in buffers:
        return False
    buffer = arguments[0]
    return _is_small(declared.buffer) and (int(declared.buffer.shape[0]), str(declared.buffer.dtype)) == (
        int(buffer.shape[0]),
        str(buffer.dtype),
    )


def _is_small(buffer: Any) -> bool:
    """Whether it is one row of at most `_MOST` vectors, or of as many numbers as these have."""
    most = _MOST if "x" in str(buffer.dtype) else _MOST * _MOST_LANES
    return len(buffer.shape) == 1 and 1 < int(buffer.shape[0]) <= most


def _span(index: Any) -> tuple[int, int] | None:
    """Where an access begins, and where it ends; None where that is not known beforehand."""
    if isinstance(index, IntImm):
        return int(index), int(index) + 1
    if isinstance(index, Ramp) and isinstance(index.base, IntImm) and isinstance(index.stride, IntImm):
        return (int(index.base), int(index.base) + int(index.lanes)) if int(index.stride) == 1 else None
    return None


def _parts(names: list[Any], accesses: list[_Access]) -> _Pieces:
    """By some names of a temporary: a buffer for each part that no access reaches out of."""
    cells: list[tuple[int, int]] = []
    for begin, end in sorted({(each.begin, each.end) for each in accesses if each.name in names}):
        if cells and begin < cells[-1][1]:
            cells[-1] = cells[-1][0], max(end, cells[-1][1])
        else:
            cells.append((begin, end))
    first = names[0]
    buffers = [decl_buffer((end - begin,), first.dtype, f"{first.name}_{begin}") for begin, end in cells]
    return _Pieces(first, [begin for begin, _ in cells], buffers)
