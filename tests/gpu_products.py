"""Products and convolutions scheduled for a GPU, run on the one that this process's environment has, fake or not, and
compared with what the unscheduled kernel makes on the host.

    python -m tests.gpu_products COMPILER [DRAWN]

DRAWN: schedules of each kernel besides the default one; 3 unless told.
Writes a JSON list: of each schedule its kernel, its tile and the greatest error, relative to the greatest value.
"""

import json
import platform
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.target import Target

from tunefarm_agent.detection import proposed_target, this_cpu
from tunefarm_agent.nvidia import Gpu
from tunefarm_coordinator.engines.autotvm.knobs import decisions_of
from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.engines.build import build_kernels
from tunefarm_coordinator.engines.cuda import options
from tunefarm_coordinator.engines.cuda.options import CudaOptions
from tunefarm_coordinator.models.accumulation import accumulate_wide
from tunefarm_coordinator.models.target import resolve_target
from tunefarm_coordinator.models.tasks import normalized
from tunefarm_coordinator.models.tf32 import mark_tf32

TARGET = resolve_target(
    json.dumps(Gpu(0, "", "", (9, 0), 80 << 30).target(proposed_target(platform.machine(), this_cpu(), 1)))
)


def _convolution(
    size: int, channels: int, filters: int, window: int, stride: int, dtype: str, layout: str = "NHWC", groups: int = 1
) -> Any:
    """With a bias, a residual and an activation, as in a residual network."""
    last = layout == "NHWC"
    out = (size + 2 * (window // 2) - window) // stride + 1
    shape = {True: (1, size, size, channels), False: (1, channels, size, size)}[last]
    depth = channels // groups
    kernel = {True: (window, window, depth, filters), False: (filters, depth, window, window)}[last]
    result = {True: (1, out, out, filters), False: (1, filters, out, out)}[last]
    bias = {True: (1, 1, 1, filters), False: (1, filters, 1, 1)}[last]

    def body(x: Any, w: Any, b: Any, r: Any) -> Any:
        product = relax.op.nn.conv2d(
            x,
            w,
            strides=stride,
            padding=window // 2,
            groups=groups,
            data_layout=layout,
            kernel_layout="HWIO" if last else "OIHW",
        )
        return relax.op.nn.relu(relax.op.add(relax.op.add(product, b), r))

    return _kernel(body, dtype, shape, kernel, bias, result)


def _product(first: tuple[int, ...], second: tuple[int, ...], dtype: str) -> Any:
    return _kernel(lambda a, b: relax.op.multiply(relax.op.matmul(a, b), relax.const(0.5, dtype)), dtype, first, second)


KERNELS = {
    "3x3": lambda: _convolution(9, 16, 24, 3, 1, "float32"),
    "3x3, every second pixel": lambda: _convolution(14, 32, 64, 3, 2, "float32"),
    "7x7 on an image": lambda: _convolution(20, 3, 32, 7, 2, "float32"),
    "1x1": lambda: _convolution(7, 64, 40, 1, 1, "float32"),
    "channels first": lambda: _convolution(8, 16, 24, 3, 1, "float32", "NCHW"),
    "one row": lambda: _product((1, 200), (200, 72), "float32"),
    "dense": lambda: _product((1, 45, 96), (96, 130), "float32"),
    "long sums": lambda: _product((7, 768), (768, 129), "float32"),
    "batches": lambda: _product((2, 3, 33, 32), (2, 3, 32, 40), "float32"),
    "each channel": lambda: _convolution(9, 18, 18, 3, 1, "float32", groups=18),
    "each channel, 5x5, every second pixel": lambda: _convolution(16, 32, 32, 5, 2, "float32", groups=32),
    "each channel, twice": lambda: _convolution(9, 8, 16, 3, 1, "float32", groups=8),
    "each channel, channels first": lambda: _convolution(12, 10, 10, 5, 1, "float32", "NCHW", 10),
    "groups": lambda: _convolution(8, 16, 24, 3, 2, "float32", "NCHW", 4),
    "half: each channel": lambda: _convolution(9, 40, 40, 3, 1, "float16", groups=40),
    "half: each channel, channels first": lambda: _convolution(12, 10, 10, 3, 2, "float16", "NCHW", 10),
    "half: 3x3": lambda: _convolution(9, 32, 48, 3, 1, "float16"),
    "half: 7x7 on an image": lambda: _convolution(16, 3, 16, 7, 2, "float16"),
    "half: dense": lambda: _product((50, 96), (96, 130), "float16"),
    "half: batches": lambda: _product((4, 33, 32), (4, 32, 40), "float16"),
    "half: channels first": lambda: _convolution(8, 16, 24, 3, 1, "float16", "NCHW"),
    "bfloat: 3x3": lambda: _convolution(9, 32, 48, 3, 1, "bfloat16"),
    "bfloat: dense": lambda: _product((50, 96), (96, 130), "bfloat16"),
    "tf32: 3x3": lambda: marked(_convolution(9, 32, 48, 3, 1, "float32")),
    "tf32: 7x7 on an image": lambda: marked(_convolution(16, 3, 16, 7, 2, "float32")),
    "tf32: batches": lambda: marked(_product((4, 33, 32), (4, 32, 40), "float32")),
    "tf32: long sums": lambda: marked(_product((20, 768), (768, 24), "float32")),
}


def _kernel(body: Any, dtype: str, *shapes: tuple[int, ...]) -> Any:
    """The one kernel that `body` fuses into, of arguments with these shapes."""
    arguments = [relax.Var(f"a{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", arguments):
        with builder.dataflow():
            out = builder.emit_output(builder.emit(body(*arguments)))
        builder.emit_func_output(out)
    transform = relax.transform
    passes = (
        *(transform.LegalizeOps(), transform.AnnotateTIROpPattern(), transform.FoldConstant()),
        *(transform.FuseOps(), transform.FuseTIR(), transform.DeadCodeElimination()),
    )
    lowered = tvm.ir.transform.Sequential(list(passes))(accumulate_wide(builder.finalize()))
    (kernel,) = (f for f in lowered.functions.values() if isinstance(f, tvm.tirx.PrimFunc))
    return normalized(kernel)


def marked(kernel: Any) -> Any:
    """The kernel's module with a mark, if it may use TF32."""
    return mark_tf32(kernel, Target(TARGET))


def _arrays(kernel: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal([int(extent) for extent in each.shape]).astype(np.dtype(str(each.dtype)))
        for each in kernel["main"].params
    ]


def _ran(built: Any, arrays: list[Any], device: Any) -> Any:
    tensors = [tvm.runtime.tensor(array, device) for array in arrays[:-1]]
    out = tvm.runtime.tensor(np.full_like(arrays[-1], np.nan), device)
    built["main"](*tensors, out)
    return out.numpy().astype(np.float64)


def checked(name: str, drawn: int) -> Iterator[dict[str, Any]]:
    """The default schedule of a kernel and some drawn ones."""
    kernel, target = KERNELS[name](), Target(TARGET)
    arrays = _arrays(kernel)
    expected = _ran(tvm.tirx.build(kernel, target="llvm"), arrays, tvm.cpu())
    space = TemplateSpace(kernel, target, random.Random(name))
    drafts = [space.first, *(draft for _ in range(4 * drawn) if (draft := space.sample()))][: 1 + drawn]
    for draft in drafts:
        assert draft is not None
        out = _ran(build_kernels(draft.schedule.mod, target), arrays, tvm.cuda(0))
        error = float(np.max(np.abs(out - expected)) / np.max(np.abs(expected)))
        script = draft.schedule.mod.script()
        yield {
            "kernel": name,
            "tile": decisions_of(draft.trace)[:7],
            "error": error if error == error else None,
            "fragments": "wmma" in script,
            "ahead": "software_pipeline_async_stages" in script,
            "parts": "rf" in script,
        }


if __name__ == "__main__":
    options.configure(CudaOptions(sys.argv[1]))  # type: ignore[arg-type]
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    json.dump([each for name in KERNELS for each in checked(name, number)], sys.stdout)
