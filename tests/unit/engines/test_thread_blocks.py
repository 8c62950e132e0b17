"""Thread blocks that a GPU can't take are told from their tiles; those that it can take are let through."""

import random
from math import prod
from typing import Any

import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tunefarm_coordinator.engines.space import DesignSpace
from tunefarm_coordinator.engines.thread_blocks import TileSampler, may_fit, shared_bytes, thread_block

SHARED = 48 << 10
TARGET = Target(
    {
        "kind": "cuda",
        "arch": "sm_90",
        "max_threads_per_block": 1024,
        "max_shared_memory_per_block": SHARED,
        "thread_warp_size": 32,
    }
)
SIZES = (96, 64, 160)
DRAWS = 60


@pytest.fixture(scope="module")
def space() -> DesignSpace:
    rows, columns, depth = SIZES
    a, b = te.placeholder((rows, depth), name="a"), te.placeholder((depth, columns), name="b")
    k = te.reduce_axis((0, depth), name="k")
    product = te.compute((rows, columns), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="product")
    return DesignSpace(tvm.IRModule({"main": te.create_prim_func([a, b, product])}), TARGET, random.Random(1))


@pytest.fixture(scope="module")
def sketch(space: DesignSpace) -> Trace:
    """The sketch that tiles over several levels."""
    context = space.context
    with TARGET:
        traces = [schedule.trace.simplified(True) for schedule in context.generate_design_space()]
    return next(trace for trace in traces if thread_block(trace.insts) is not None)


def test_what_metaschedule_takes_is_let_through(space: DesignSpace, sketch: Trace) -> None:
    taken = refused = 0
    for seed in range(1, DRAWS + 1):
        schedule = Schedule(space.module, seed=seed, debug_mask="none", error_render_level="none")
        Trace(sketch.insts, {}).apply_to_schedule(schedule, remove_postproc=True)
        fits = may_fit(schedule.trace) and shared_bytes(schedule) <= SHARED
        schedule.enter_postproc()
        works = all(each.apply(schedule) for each in space.context.space_generator.postprocs)
        virtual = _virtual_threads(schedule.trace)
        assert fits or not works or virtual > 8
        taken += works
        refused += not fits
    assert taken > 0
    assert refused > DRAWS // 2


def test_tiles_are_drawn_until_they_fit(sketch: Trace) -> None:
    sampler, rng = TileSampler(sketch), random.Random(1)
    drawn = [sampler.decisions(rng) for _ in range(DRAWS)]
    for decisions in drawn:
        assert sorted(prod(tile) for tile in decisions.values()) == sorted(SIZES)
        assert may_fit(Trace(sketch.insts, decisions))
        assert all(tile[-1] <= 64 for tile in decisions.values())
    assert len({str(list(decisions.values())) for decisions in drawn}) > DRAWS // 2
    again = random.Random(1)
    assert [list(sampler.decisions(again).values()) for _ in range(5)] == [list(each.values()) for each in drawn[:5]]


def test_a_schedule_without_tiles_is_let_through(space: DesignSpace) -> None:
    schedule = Schedule(space.module)
    loop, *_ = schedule.get_loops(schedule.get_sblock("product"))
    schedule.bind(loop, "threadIdx.x")
    assert may_fit(schedule.trace)
    assert TileSampler(schedule.trace).decisions(random.Random(1)) == {}
    assert shared_bytes(schedule) == 0


def _virtual_threads(trace: Any) -> int:
    block = thread_block(trace.insts)
    assert block is not None
    return prod(int(trace.decisions[block.tiles[tile]][position]) for tile, position in block.virtual)
