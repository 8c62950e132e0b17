"""The reference kernel of a target: the same small product of matrices everywhere, that tells how fast a device is now.

Bound by arithmetic, out of the first cache, on all cores of the target, tens of microseconds long: throttling and
neighbours show in it, what the candidates before it left in the caches does not. Only its times on one device, or on
devices of equal facts, are compared, so it need not be fast.
"""

from typing import Any

import tvm
from tvm.s_tir import Schedule
from tvm.script import tirx as T
from tvm.target import Target

from tunefarm_coordinator.engines.build import build_kernels, export_library, kernel_arguments
from tunefarm_coordinator.engines.candidate import BuildError, BuiltCandidate
from tunefarm_coordinator.engines.linker import LinkError
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line

# Edge of the matrices. A GPU needs more of them to be busy at all.
CPU_EDGE = 96
GPU_EDGE = 256
_LANES = 16
_THREADS = 64


def build_reference(target: str) -> BuiltCandidate:
    """The linked kernel for a target (JSON): arguments A, B and their product C, float32.

    The same target gives the same bytes, as long as TVM, LLVM and the linker are the same. Raises BuildError.
    """
    try:
        kind = Target(target)
        gpu = kind.kind.name != "llvm"
        schedule = Schedule(tvm.IRModule({"main": _product(GPU_EDGE if gpu else CPU_EDGE)}))
        (_on_gpu if gpu else _on_cpu)(schedule)
        built = build_kernels(schedule.mod, kind)
        return BuiltCandidate(export_library(built, kind, None), kernel_arguments(schedule.mod["main"]), ())
    except LinkError as error:
        raise BuildError(str(error)) from error
    except TVM_ERRORS as error:
        raise BuildError(first_line(error)) from error


def _product(edge: int) -> Any:
    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def main(
        a: T.Buffer((edge, edge), "float32"),  # type: ignore[valid-type]
        b: T.Buffer((edge, edge), "float32"),  # type: ignore[valid-type]
        c: T.Buffer((edge, edge), "float32"),  # type: ignore[valid-type]
    ) -> None:
        for i, j, k in T.grid(edge, edge, edge):
            with T.sblock("product"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    c[vi, vj] = T.float32(0)
                c[vi, vj] = c[vi, vj] + a[vi, vk] * b[vk, vj]

    return main


def _on_cpu(schedule: Any) -> None:
    block = schedule.get_sblock("product")
    i, j, k = schedule.get_loops(block)
    outer, lanes = schedule.split(j, [None, _LANES])
    schedule.reorder(i, k, outer, lanes)
    schedule.parallel(i)
    schedule.unroll(outer)
    schedule.vectorize(lanes)
    schedule.decompose_reduction(block, k)


def _on_gpu(schedule: Any) -> None:
    i, j, _ = schedule.get_loops(schedule.get_sblock("product"))
    blocks, threads = schedule.split(schedule.fuse(i, j), [None, _THREADS])
    schedule.bind(blocks, "blockIdx.x")
    schedule.bind(threads, "threadIdx.x")
