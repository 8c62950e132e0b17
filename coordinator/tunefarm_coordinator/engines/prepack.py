"""Weights in a layout of the candidate's own: the kernel without the conversion, and the conversion alone.

A schedule that MetaSchedule's RewriteLayout went over begins with one loop nest for each rewritten weight,
which copies it into the layout that the kernel reads and is marked "layout_rewrite_preproc". That copy
belongs to packing the model, not to the kernel that is timed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import IRModule
from tvm.s_tir import SBlock, SBlockRealize, renew_defs
from tvm.s_tir.meta_schedule.postproc import RewriteLayout
from tvm.tirx import For, PrimFunc, SeqStmt

from tunefarm_coordinator.engines.candidate import Prepack
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS

KERNEL = "main"
# Annotation of the block that lays a weight out; what follows it is the kernel.
LAID_OUT_BEFORE = "meta_schedule.layout_rewrite_preproc"


@dataclass(frozen=True)
class SplitKernel:
    """`module` holds the kernel `main`, whose rewritten weights are arguments in the candidate's own layouts,
    and one function for each of `prepacks`, called with (weight of the workload, weight for the kernel)."""

    module: IRModule
    prepacks: tuple[Prepack, ...]


def split(scheduled: IRModule) -> SplitKernel:
    """Takes the layout conversions out of a scheduled module's `main`."""
    kernel = scheduled[KERNEL]
    functions = {}
    prepacks = []
    for nest, block in _conversions(kernel):
        weight, packed = block.reads[0].source, block.writes[0].source
        argument = next(i for i, parameter in enumerate(kernel.params) if parameter.same_as(weight))
        name = f"prepack_{argument}"
        functions[name] = _conversion(nest, weight, packed, name)
        prepacks.append(Prepack(argument, name))
    module = IRModule({KERNEL: _bare(kernel).with_attr("global_symbol", KERNEL), **functions})
    return SplitKernel(module, tuple(sorted(prepacks, key=lambda prepack: prepack.argument)))


def kernel_alone(scheduled: IRModule) -> IRModule | None:
    """The scheduled module's `main` without layout conversions, as `split` has it; None where there are none."""
    kernel = scheduled[KERNEL]
    return IRModule({KERNEL: _bare(kernel)}) if any(_conversions(kernel)) else None


def laid_out(schedule: Any) -> Any:
    """The schedule with free weights in the order in which it reads them; itself where that is no layout. What is
    done is postprocessing in its trace: a space that changes the trace does it anew."""
    schedule.enter_postproc()
    packed = schedule.copy()
    try:
        return packed if RewriteLayout().apply(packed) else schedule
    except TVM_ERRORS:
        return schedule


def _conversions(kernel: PrimFunc) -> Iterator[tuple[Any, SBlock]]:
    """The marked loop nests of the kernel, each with its block."""
    body = kernel.body.block.body
    for nest in body.seq if isinstance(body, SeqStmt) else [body]:
        inner = nest
        while isinstance(inner, For):
            inner = inner.body
        if isinstance(inner, SBlockRealize) and LAID_OUT_BEFORE in inner.block.annotations:
            yield nest, inner.block


def _bare(kernel: PrimFunc) -> PrimFunc:
    """The kernel without its conversions, whose results are arguments in the weights' places."""
    conversions = list(_conversions(kernel))
    if not conversions:
        return kernel
    packed = {block.reads[0].source: block.writes[0].source for _, block in conversions}
    nests = [nest for nest, _ in conversions]
    root = kernel.body.block
    left = [each for each in root.body.seq if not any(each.same_as(nest) for nest in nests)]
    made = [each for each in root.alloc_buffers if not any(each.same_as(buffer) for buffer in packed.values())]
    block = SBlock(
        [],
        root.reads,
        root.writes,
        root.name_hint,
        SeqStmt(left) if len(left) > 1 else left[0],
        None,
        made,
        root.match_buffers,
        root.annotations,
    )
    parameters = [packed.get(parameter, parameter) for parameter in kernel.params]
    return renew_defs(PrimFunc(parameters, SBlockRealize([], True, block), kernel.ret_type, kernel.attrs))


def _conversion(nest: Any, weight: Any, packed: Any, name: str) -> PrimFunc:
    root = SBlockRealize([], True, SBlock([], [], [], "root", nest))
    attributes = {"global_symbol": name, "tirx.noalias": True, "s_tir": True}
    return renew_defs(PrimFunc([weight, packed], root).with_attr(attributes))
