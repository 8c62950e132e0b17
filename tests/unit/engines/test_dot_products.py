"""Products of 8-bit integers reach the instructions that CPUs have for them, in every schedule of their space."""

import json
import random
from functools import cache
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import te, topi
from tvm.target import Target

from tunefarm_coordinator.engines import prepack, trace_text
from tunefarm_coordinator.engines.dot_products import dots_of
from tunefarm_coordinator.engines.spaces import sketches
from tunefarm_coordinator.models.default_schedule import default_schedule
from tunefarm_coordinator.models.target import host_target

SERVER = {"kind": "llvm", "mcpu": "sapphirerapids", "num-cores": 2}
LAPTOP = {"kind": "llvm", "mcpu": "alderlake", "num-cores": 2}
BOARD = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a76", "num-cores": 2}


@cache
def matmul(first: str, columns: int = 32) -> Any:
    """(6, 20) by (20, `columns`), plus one."""
    left, right = te.placeholder((6, 20), first, "left"), te.placeholder((20, columns), "int8", "right")
    step = te.reduce_axis((0, 20), "k")
    total = te.compute(
        (6, columns),
        lambda i, j: te.sum(left[i, step].astype("int32") * right[step, j].astype("int32"), axis=step),
        name="matmul",
    )
    more = te.compute((6, columns), lambda i, j: total[i, j] + 1, name="more")
    return _module([left, right, more])


@cache
def convolution(first: str) -> Any:
    """3x3 by stride 2 on 9x9 with 8 channels, 24 filters."""
    data, weight = te.placeholder((1, 9, 9, 8), first, "data"), te.placeholder((3, 3, 8, 24), "int8", "weight")
    result = topi.nn.conv(data, weight, 2, 0, 1, 1, "NHWC", "HWIO", "int32")
    return _module([data, weight, result])


def _module(tensors: list[Any]) -> Any:
    function = te.create_prim_func(tensors).with_attr("layout_free_buffers", [1])
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


@pytest.mark.parametrize(
    ("target", "first", "columns", "instruction"),
    [
        (SERVER, "uint8", 32, r"vpdpbusd"),
        (LAPTOP, "uint8", 32, r"vpdpbusd"),
        (LAPTOP, "uint8", 12, r"vpdpbusd"),
        (BOARD, "int8", 32, r"sdot"),
    ],
)
def test_the_default_schedule_reaches_the_instruction(
    target: dict[str, Any], first: str, columns: int, instruction: str
) -> None:
    for module in (matmul(first, columns), convolution(first)):
        kernel = prepack.split(default_schedule(module, json.dumps(target)).mod)
        assert [each.argument for each in kernel.prepacks] == [1]
        assembly = tvm.tirx.build(kernel.module, target=Target(target)).inspect_source("asm")
        assert instruction in assembly


@pytest.mark.parametrize("target", [{**SERVER, "mcpu": "haswell"}, {**BOARD, "mcpu": "cortex-a72"}])
def test_a_cpu_without_the_instruction_has_the_plain_loops(target: dict[str, Any]) -> None:
    assert dots_of(json.dumps(target)) is None
    assert default_schedule(matmul("uint8"), json.dumps(target)).mod is not None


@pytest.mark.parametrize("module", [matmul("uint8"), matmul("uint8", 12), convolution("uint8")])
def test_every_schedule_of_the_space_multiplies_right(module: Any) -> None:
    target = host_target()
    if getattr(dots_of(target), "first", None) != "uint8":
        pytest.skip("waits for a host with vpdpbusd")
    space = sketches(module, Target(target), random.Random(0))
    drafts = [space.sample() for _ in range(3)]
    assert all(drafts)
    rng = np.random.default_rng(0)
    left, right, result = module["main"].params
    values = [
        rng.integers(0, 256, [int(n) for n in left.shape], dtype=np.uint8),
        rng.integers(-128, 128, [int(n) for n in right.shape], dtype=np.int8),
    ]
    expected = _run(module, Target(target), values, result)
    for draft in [default_schedule(module, target), *(draft.schedule for draft in drafts if draft)]:
        replayed = trace_text.replay(module, trace_text.encode(draft.trace), Target(target))
        assert tvm_ffi.structural_equal(replayed.mod, draft.mod)
        np.testing.assert_array_equal(_run(draft.mod, Target(target), values, result), expected)


def _run(module: Any, target: Any, values: list[Any], result: Any) -> Any:
    """The result, weights laid out by the kernel itself."""
    built = tvm.tirx.build(module, target=target)
    output = tvm.runtime.empty([int(size) for size in result.shape], str(result.dtype))
    built["main"](*[tvm.runtime.tensor(value) for value in values], output)
    return output.numpy()
