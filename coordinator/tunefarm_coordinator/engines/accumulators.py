"""A tile's accumulators as single vectors, which LLVM keeps in registers.

TVM puts a temporary of 1 KiB or more on the heap (kMaxStackAlloca). There LLVM can't tell that nobody else reads it:
the largest tiles stored all their accumulators every few steps, and took a third longer. Once loops are unrolled, each
accumulator is a vector at a place known beforehand, so that it can be a variable of its own.
"""

from collections import Counter
from typing import Any

import tvm_ffi
from tvm.ir import TensorLoad, Var
from tvm.tirx import AllocBuffer, BufferStore, DeclBuffer, IntImm, PrimFunc, SeqStmt, decl_buffer

# With more vectors it is no tile's: no CPU has so many registers.
_MOST = 64


def apart(function: PrimFunc) -> PrimFunc:
    """The lowered function with each temporary whose vectors are read and written one by one, at places known
    beforehand, as so many temporaries."""
    pieces = _pieces(function)
    if not pieces:
        return function

    def load(access: Any) -> Any:
        own = pieces.get(access.source)
        return access if own is None else own[int(access.indices[0])][0]

    def store(access: Any) -> Any:
        own = pieces.get(access.buffer)
        return access if own is None else BufferStore(own[int(access.indices[0])], access.value, [0])

    def sequence(statements: Any) -> Any:
        parts: list[Any] = []
        for each in statements.seq:
            own = pieces.get(each.buffer) if isinstance(each, AllocBuffer | DeclBuffer) else None
            made = [each] if own is None else [AllocBuffer(piece) for piece in own]
            # What is declared is another name of the same memory.
            parts.extend([] if own is not None and isinstance(each, DeclBuffer) else made)
        return SeqStmt(parts) if len(parts) > 1 else parts[0]

    return tvm_ffi.structural_map(function, [(TensorLoad, load), (BufferStore, store), (SeqStmt, sequence)])


def _pieces(function: PrimFunc) -> dict[Any, list[Any]]:
    """By each name of a buffer of a few vectors, of which nothing but single vectors is used: a buffer for each."""
    named: dict[Any, Any] = {}
    uses: Counter[Any] = Counter()
    plain: Counter[Any] = Counter()

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
        plain[buffer] += len(node.indices) == 1 and isinstance(node.indices[0], IntImm)

    def variable(node: Any) -> None:
        if node in named:
            uses[node] += 1

    tvm_ffi.structural_walk(function, (SeqStmt, sequence), order="pre")
    if not named:
        return {}
    tvm_ffi.structural_walk(function, [((TensorLoad, BufferStore), access), (Var, variable)])
    otherwise = {named[name] for name in named if plain[name] != uses[name]}
    made = {buffer: _parts(buffer) for buffer in set(named.values()) - otherwise}
    return {name: made[buffer] for name, buffer in named.items() if buffer in made}


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
    """Whether it is one row of at most `_MOST` vectors."""
    return len(buffer.shape) == 1 and 1 < int(buffer.shape[0]) <= _MOST and "x" in str(buffer.dtype)


def _parts(buffer: Any) -> list[Any]:
    return [decl_buffer((1,), buffer.dtype, f"{buffer.name}_{index}") for index in range(int(buffer.shape[0]))]
