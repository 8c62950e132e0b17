"""Traces of schedules for GPUs: text that makes the same kernel in any process."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tvm
import tvm_ffi
from tvm import te, topi

from tests.fake_cuda.kernels import TARGET
from tunefarm_coordinator.engines import trace_text
from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.models.tasks import normalized

_REPLAY = """
import sys, tvm, tvm_ffi
from pathlib import Path
from tvm.target import Target
from tunefarm_coordinator.engines import trace_text
folder, target = Path(sys.argv[1]), Target(sys.argv[2])
module = tvm.ir.load_json((folder / "module").read_text())
for index in range(int(sys.argv[3])):
    replayed = trace_text.replay(module, (folder / f"trace{index}").read_text(), target)
    print(tvm_ffi.structural_hash(replayed.mod))
"""
_DRAWN = 4


def _product(dtype: str) -> Any:
    a, b = te.placeholder((200, 128), dtype, "a"), te.placeholder((128, 96), dtype, "b")
    k = te.reduce_axis((0, 128), "k")
    out = te.compute(
        (200, 96), lambda i, j: te.sum(a[i, k].astype("float32") * b[k, j].astype("float32"), axis=k), name="matmul"
    )
    return normalized(te.create_prim_func([a, b, out]))


def _depthwise() -> Any:
    data, weight = te.placeholder((1, 24, 14, 14), name="data"), te.placeholder((24, 1, 3, 3), name="weight")
    return normalized(te.create_prim_func([data, weight, topi.nn.group_conv2d_nchw(data, weight, 1, 1, 1, 24)]))


@pytest.mark.parametrize(
    "module",
    [_product("float32"), _product("float16"), _depthwise()],
    ids=["ordinary units", "tensor cores", "depthwise"],
)
def test_a_fresh_process_makes_the_same_kernel_of_a_trace(module: Any, tmp_path: Path) -> None:
    space = TemplateSpace(module, tvm.target.Target(TARGET), random.Random(0))
    drafts = [space.first, *(space.sample() for _ in range(_DRAWN))]
    hashes = []
    for index, draft in enumerate(drafts):
        assert draft is not None
        hashes.append(str(tvm_ffi.structural_hash(draft.schedule.mod)))
        (tmp_path / f"trace{index}").write_text(trace_text.encode(draft.trace))
    assert len(set(hashes)) > 1
    (tmp_path / "module").write_text(str(tvm.ir.save_json(module)))
    command = [sys.executable, "-c", _REPLAY, str(tmp_path), TARGET, str(len(drafts))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == hashes
