"""Weights fetched ahead: all of the next panel, and nothing else; nothing where there is no next one."""

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te, tirx
from tvm.target import Target

from tunefarm_coordinator.engines import prepack
from tunefarm_coordinator.engines.build import build_kernels
from tunefarm_coordinator.engines.fetch_ahead import with_fetches
from tunefarm_coordinator.models.default_schedule import default_schedule
from tunefarm_coordinator.models.target import host_target

AVX512 = '{"kind":"llvm","mtriple":"x86_64-linux-gnu","mcpu":"skylake-avx512","num-cores":2}'
AVX2 = '{"kind":"llvm","mtriple":"x86_64-linux-gnu","mcpu":"haswell","num-cores":2}'
NEON = '{"kind":"llvm","mtriple":"aarch64-linux-gnu","mcpu":"cortex-a72","num-cores":4}'


def dense(target: str, rows: int, steps: int, lanes: int) -> tvm.IRModule:
    """A product with weights, by the default schedule, its weights as it reads them."""
    x, weights = te.placeholder((rows, steps), name="x"), te.placeholder((steps, lanes), name="weights")
    k = te.reduce_axis((0, steps), name="k")
    result = te.compute((rows, lanes), lambda i, j: te.sum(x[i, k] * weights[k, j], axis=k), name="product")
    function = te.create_prim_func([x, weights, result]).with_attr("layout_free_buffers", [1])
    return prepack.split(default_schedule(tvm.IRModule({"main": function}), target).mod).module


@pytest.mark.parametrize("target", [AVX512, AVX2, NEON])
@pytest.mark.parametrize("rows", [21, 49])
def test_every_line_of_the_next_panel_is_fetched(target: str, rows: int) -> None:
    module = dense(target, rows, 72, 160)
    panels, steps, lanes = (int(size) for size in module["main"].params[1].shape)
    fetched = list(_fetched(with_fetches(module)["main"].body, {}))
    lines = range(0, lanes, 16)
    expected = {(panel, step, line) for panel in range(1, panels) for step in range(steps) for line in lines}
    # The last panel has none after it, and fetches itself.
    assert set(fetched) == expected
    assert len(fetched) < 1.5 * panels * steps * len(lines)


@pytest.mark.parametrize("shape", [(1, 72, 480), (48, 72, 16), (48, 16384, 480)])
def test_nothing_is_fetched_without_a_next_panel_that_finds_room(shape: tuple[int, int, int]) -> None:
    """One row is multiplied once with each panel; 16 lanes are one panel; the last weights' panels fill a cache."""
    module = dense(AVX512, *shape)
    assert not list(_fetched(with_fetches(module)["main"].body, {}))


def test_results_are_the_same() -> None:
    module = dense(host_target(), 49, 72, 480)
    built = build_kernels(module, Target(host_target()))
    generator = np.random.default_rng(3)
    x, weights = (generator.standard_normal(shape).astype(np.float32) for shape in ((49, 72), (72, 480)))
    panels, _, lanes = (int(size) for size in module["main"].params[1].shape)
    packed = np.zeros((72, panels * lanes), np.float32)
    packed[:, :480] = weights
    packed = np.ascontiguousarray(packed.reshape(72, panels, lanes).transpose(1, 0, 2))
    found = tvm.runtime.tensor(np.zeros((49, 480), np.float32))
    built["main"](tvm.runtime.tensor(x), tvm.runtime.tensor(packed), found)
    np.testing.assert_allclose(found.numpy(), x @ weights, rtol=1e-4, atol=1e-4)


def _fetched(statement: Any, values: dict[Any, int]) -> Any:
    """Places that a statement fetches, as (panel, step, lane), loop by loop."""
    if isinstance(statement, tirx.SeqStmt):
        for each in statement.seq:
            yield from _fetched(each, values)
    elif isinstance(statement, tvm.s_tir.SBlockRealize):
        yield from _fetched(statement.block.body, values)
    elif isinstance(statement, tirx.IfThenElse):
        if bool(_value(statement.condition, values)):
            yield from _fetched(statement.then_case, values)
    elif isinstance(statement, tirx.For) and _has_fetches(statement):
        for value in range(int(statement.extent)):
            yield from _fetched(statement.body, {**values, statement.loop_var: value})
    elif isinstance(statement, tirx.Evaluate):
        yield tuple(_value(index, values) for index in statement.value.args[0].args[0].indices)


def _has_fetches(statement: Any) -> bool:
    return "prefetch" in str(statement)


def _value(expression: Any, values: dict[Any, int]) -> int:
    return int(tirx.IndexMap(list(values), [expression], None).map_indices(list(values.values()))[0])
