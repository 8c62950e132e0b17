"""Accumulators of a large tile are variables of their own; what is read at places that are computed stays as it is."""

import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.target import Target

from tunefarm_coordinator.engines.build import build_kernels
from tunefarm_coordinator.engines.uneven_tiles import Tile, tile_unevenly

AVX512 = Target('{"kind":"llvm","mtriple":"x86_64-linux-gnu","mcpu":"skylake-avx512","num-cores":1}')
# How TVM takes memory from the heap.
HEAP = "TVMBackendAllocWorkspace"


def product(lanes: int = 96) -> Schedule:
    """70 rows, 80 steps, 96 lanes: too many outputs for TVM to keep on the stack."""
    x, weights = te.placeholder((70, 80), name="x"), te.placeholder((80, lanes), name="weights")
    k = te.reduce_axis((0, 80), name="k")
    result = te.compute((70, lanes), lambda i, j: te.sum(x[i, k] * weights[k, j], axis=k), name="product")
    return Schedule(tvm.IRModule({"main": te.create_prim_func([x, weights, result])}))


@pytest.mark.parametrize("tile", [Tile(12, 2, 16), Tile(7, 3, 16), Tile(8, 3, 16)])
def test_a_tile_needs_no_memory(tile: Tile) -> None:
    """Neither do the smaller tiles at the ends of 70 rows."""
    schedule = product()
    tile_unevenly(schedule, "product", "", tile, lanes_first=True)
    assert HEAP not in build_kernels(schedule.mod, AVX512).inspect_source("ll")


@pytest.mark.parametrize(("lanes", "tile"), [(88, Tile(8, 3, 16)), (68, Tile(24, 1, 16)), (71, Tile(6, 4, 16))])
def test_neither_does_one_at_the_end_of_a_row(lanes: int, tile: Tile) -> None:
    """There a vector is not a whole register; that it begins where a whole one did moves nothing to and fro."""
    schedule = product(lanes)
    tile_unevenly(schedule, "product", "", tile, lanes_first=True)
    code = build_kernels(schedule.mod, AVX512).inspect_source("ll")
    assert HEAP not in code
    assert "fmuladd" in code
    shuffles = [line for line in code.splitlines() if "shufflevector" in line]
    assert all("zeroinitializer" in line for line in shuffles)  # one number for all lanes


def test_memory_that_a_loop_goes_over_stays() -> None:
    schedule = product()
    copy = schedule.cache_write(schedule.get_sblock("product"), 0, "global")
    schedule.vectorize(schedule.split(schedule.get_loops(copy)[1], [None, 16])[1])
    schedule.vectorize(schedule.split(schedule.get_loops(schedule.get_sblock("product"))[1], [None, 16])[1])
    assert HEAP in build_kernels(schedule.mod, AVX512).inspect_source("ll")
