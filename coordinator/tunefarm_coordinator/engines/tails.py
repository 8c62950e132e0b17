"""Loops that end in the middle of a tile, as whole tiles and a smaller one.

A schedule whose tiles don't divide an axis asks at every step whether it is still inside. Here each such loop is cut
where the answer changes, so that nothing is asked in either part: TVM's loop partitioning does that with conditions
that are marked as likely, which `Schedule.split` doesn't mark.
"""

from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx import For, PrimFunc, SeqStmt

# Of the context to build a module in that `with_tails` made.
PARTITIONING = {"s_tir.LoopPartition": {"partition_const_loop": True}}


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
    return SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        _marked(block.body),
        block.init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )


def _likely(condition: Any) -> Any:
    if isinstance(condition, tirx.And):
        return tirx.And(_likely(condition.a), _likely(condition.b))
    return condition if isinstance(condition, tirx.IntImm) else tirx.likely(condition)
