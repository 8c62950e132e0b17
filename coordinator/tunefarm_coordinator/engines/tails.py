"""Loops that end in the middle of a tile, as whole tiles and a smaller one.

A schedule whose tiles don't divide an axis asks at every step whether it is still inside. Here each such loop is cut
where the answer changes, so that nothing is asked in either part: TVM's loop partitioning does that with conditions
that are marked as likely, which `Schedule.split` doesn't mark.

It leaves loops that count in 64 bits with numbers of two widths, which no pass behind it takes, and TVM narrows no loop
whose place is a value (the best place so far, of ArgMax). So places are values of 32 bits there.
"""

from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad, Var
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx import BufferLoad, BufferStore, For, PrimFunc, SeqStmt

# Of the context to build a module in that `with_tails` made.
PARTITIONING = {"s_tir.LoopPartition": {"partition_const_loop": True}}
# Longer axes have places that 32 bits don't hold.
_PLACES = 2**31


def with_tails(module: tvm.IRModule) -> tvm.IRModule:
    """The module whose kernels for CPUs have their loops cut when they are built (`PARTITIONING`)."""
    marked = module.clone()
    for variable, function in module.functions.items():
        if isinstance(function, PrimFunc) and _asks(function.body):
            body = _marked(function.body)
            marked[variable] = PrimFunc(function.params, body, function.ret_type, function.attrs)
    return marked


def _asks(statement: Any) -> bool:
    """Whether a block has a condition."""
    if isinstance(statement, SBlockRealize):
        return not isinstance(statement.predicate, tirx.IntImm) or _asks(statement.block.body)
    if isinstance(statement, SeqStmt):
        return any(_asks(each) for each in statement.seq)
    return isinstance(statement, For) and _asks(statement.body)


def _marked(statement: Any) -> Any:
    if isinstance(statement, SeqStmt):
        return SeqStmt([_marked(each) for each in statement.seq])
    if isinstance(statement, SBlockRealize):
        return SBlockRealize(statement.iter_values, _likely(statement.predicate), _marked_block(statement.block))
    if not isinstance(statement, For):
        return statement
    return For(
        statement.loop_var,
        statement.min,
        statement.extent,
        statement.kind,
        _marked(statement.body),
        statement.thread_binding,
        statement.annotations,
        statement.step,
    )


def _marked_block(block: Any) -> Any:
    places = {axis.var for axis in block.iter_vars if int(axis.dom.extent) < _PLACES}
    return SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        _narrow_places(_marked(block.body), places),
        None if block.init is None else _narrow_places(block.init, places),
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )


def _narrow_places(body: Any, places: set[Any]) -> Any:
    """`body` with 32 bits of each of `places` that is a value, not an index."""
    if not places:
        return body
    kept: dict[Any, Any] = {}

    def index(variable: Any) -> Any:
        return kept.setdefault(variable, Var(variable.name, variable.ty)) if variable in places else variable

    def access(one: Any) -> Any:
        indices = [tvm_ffi.structural_map(each, (Var, index)) for each in one.indices]
        if isinstance(one, BufferStore):
            return BufferStore(one.buffer, one.value, indices)
        return BufferLoad(one.source, indices)

    def narrow(variable: Any) -> Any:
        return variable.astype("int32").astype(variable.ty.dtype) if variable in places else variable

    with_indices_apart = tvm_ffi.structural_map(body, [(TensorLoad, access), (BufferStore, access)])
    values: list[Any] = []
    tvm_ffi.structural_walk(with_indices_apart, (Var, values.append))
    if not places.intersection(values):
        return body
    narrowed = tvm_ffi.structural_map(with_indices_apart, (Var, narrow))
    back = {apart: variable for variable, apart in kept.items()}
    return tvm_ffi.structural_map(narrowed, (Var, lambda variable: back.get(variable, variable)))


def _likely(condition: Any) -> Any:
    if isinstance(condition, tirx.And):
        return tirx.And(_likely(condition.a), _likely(condition.b))
    return condition if isinstance(condition, tirx.IntImm) else tirx.likely(condition)
