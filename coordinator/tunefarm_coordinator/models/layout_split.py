"""TVM's pass that has weights laid out beforehand, kept to the kernels that read weights.

It fails on kernels that have no loops to look at: sorting, cumulative sums, scattering and others that call out.
"""

from typing import Any

import tvm
from tvm import relax
from tvm.s_tir import SBlockRealize
from tvm.script import tirx as T


@T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
def _loops() -> None:
    """What the pass finds nothing to do in."""
    for i in range(1):
        with T.sblock("nothing"):
            T.axis.spatial(1, i)
            T.reads()
            T.writes()
            T.evaluate(0)


def split_layouts(module: Any) -> Any:
    """The scheduled module with each weight read in its schedule's layout, and a kernel beside it that lays it out.

    Needs a target in scope.
    """
    plain = {
        gvar: function
        for gvar, function in module.functions.items()
        if isinstance(function, tvm.tirx.PrimFunc)
        and not (function.attrs.get("layout_free_buffers") and _has_loops(function))
    }
    masked = module.clone()
    for gvar, kernel in plain.items():
        masked[gvar] = tvm.tirx.PrimFunc(kernel.params, _loops.body, kernel.ret_type, kernel.attrs)
    split = relax.transform.SplitLayoutRewritePreproc()(masked)
    for gvar, kernel in plain.items():
        split[split.get_global_var(str(gvar.name_hint))] = kernel
    return split


def _has_loops(kernel: Any) -> bool:
    """Whether a block stands in its root."""
    return isinstance(kernel.body, SBlockRealize) and _holds_block(kernel.body.block.body)


def _holds_block(statement: Any) -> bool:
    if isinstance(statement, SBlockRealize):
        return True
    if isinstance(statement, tvm.tirx.SeqStmt):
        return any(_holds_block(each) for each in statement.seq)
    return hasattr(statement, "body") and _holds_block(statement.body)
