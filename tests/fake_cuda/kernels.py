"""Kernels for the fake device, compiled by TVM and the fake nvcc, on a host whose environment has both.

    python -m tests.fake_cuda.kernels FOLDER

Each takes (input, output), float32 of shape (64, 64); `good` adds one. `model` is a whole model: it adds the rows of a
weight of 16 MiB to its input of shape (64,).
"""

import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax, te
from tvm.s_tir import Schedule
from tvm.s_tir.transform import DefaultGPUSchedule
from tvm.target import Target

from tests.agent_process import SHAPE
from tunefarm_agent.detection import proposed_target, this_cpu
from tunefarm_agent.nvidia import Gpu
from tunefarm_coordinator.engines.build import export_library
from tunefarm_coordinator.engines.cuda import options
from tunefarm_coordinator.engines.cuda.compiler import compiling_for
from tunefarm_coordinator.engines.cuda.options import CudaOptions
from tunefarm_coordinator.models.target import resolve_target

TARGET = resolve_target(
    json.dumps(Gpu(0, "", "", (9, 0), 80 << 30).target(proposed_target(platform.machine(), this_cpu(), 1)))
)
# Elements of the intermediate result of `spacious`: 16 MiB.
_SPACE = 4 << 20
_FAR = 1 << 26


def _elementwise(body: Callable[[Any, Any, Any], Any]) -> Any:
    a = te.placeholder(SHAPE, name="a")
    return te.create_prim_func([a, te.compute(SHAPE, lambda i, j: body(a, i, j), name="b")])


def _spacious() -> Any:
    """Goes by way of an intermediate result in the device's memory."""
    a = te.placeholder(SHAPE, name="a")
    space = te.compute((_SPACE,), lambda k: a[k % SHAPE[0], k % SHAPE[1]] + 1.0, name="space")
    return te.create_prim_func([a, te.compute(SHAPE, lambda i, j: a[i, j] + space[i] - space[i] + 1.0, name="b")])


KERNELS: dict[str, Callable[[], Any]] = {
    "good": lambda: _elementwise(lambda a, i, j: a[i, j] + 1.0),
    "wrong": lambda: _elementwise(lambda a, i, j: a[i, j] + 1.5),
    "astray": lambda: _elementwise(lambda a, i, j: a[i, j + _FAR] + 1.0),
    "spacious": _spacious,
}


def _bound(schedule: Any) -> None:
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        blocks, threads = schedule.split(schedule.fuse(*schedule.get_loops(block)), [None, 64])
        schedule.bind(blocks, "blockIdx.x")
        schedule.bind(threads, "threadIdx.x")


def _model() -> Any:
    x = relax.Var("x", relax.TensorType((SHAPE[1],), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            weight = relax.const(np.ones((_SPACE // SHAPE[1], SHAPE[1]), np.float32))
            out = builder.emit_output(relax.op.add(x, relax.op.sum(weight, axis=0)))
        builder.emit_func_output(out)
    return relax.transform.LegalizeOps()(builder.finalize())


def main(folder: Path) -> None:
    target = Target(TARGET)
    options.configure(CudaOptions("nvcc"))
    with compiling_for(target):
        scheduled = DefaultGPUSchedule()(_model())
        relax.build(scheduled, target=target).export_library(str(folder / "model.so"))
    for name, kernel in KERNELS.items():
        schedule = Schedule(tvm.IRModule({"main": kernel()}))
        _bound(schedule)
        with compiling_for(target):
            built = tvm.tirx.build(schedule.mod, target=target)
        (folder / f"{name}.so").write_bytes(export_library(built, target, None))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
