"""The schedule of a kernel that nobody has tuned: parallel, vectorised, accumulating in registers.

One naive loop nest runs SqueezeNet in 285 ms, ONNX Runtime in 5 (facts.md). What these rules give is the
baseline that a tuned kernel is measured against, and what runs where there is no record. It is built with
`tvm.s_tir.Schedule`, so it is a trace like any candidate's. GPUs: `gpu_schedule`.

A kernel that another algorithm is estimated to compute faster begins as that one (`engines.algorithms`). Rules for the
others on CPUs, each tried on a copy and dropped where the schedule refuses it:
1. inline what only moves or maps values into the kernels that read them, padding that is read seldom (pools, depthwise
   convolutions, first layers) too;
2. what reduces all that it reads once (softmax, normalisations) goes row by row, in one pass, and so do sums of
   products with one column of results (`row_schedule`);
3. a reduction and the element-wise epilogue of its own sizes become one nest: tiles of the output in
   parallel, and in a tile the reduction outside, rows (unrolled) and lanes (vectorised) inside, so that the
   accumulators stay in registers; the steps of a window are written out where rows then share what they load;
   products of 8-bit integers have the first schedule of their template (`engines.autotvm.dots`) where the CPU has an
   instruction for them;
4. what moves or maps values (`copy_schedule`): vectors of what lies side by side, square tiles where it is transposed.
"""

import contextlib
import random
from typing import Any

from tvm.s_tir import Schedule
from tvm.target import Target
from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines import module_text, prepack, trace_text, uneven_tiles
from tunefarm_coordinator.engines.algorithms import best_program
from tunefarm_coordinator.engines.autotvm.dots import dot_product
from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.engines.register_tiles import Vectors, lane_tile, vectors_of
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.copy_schedule import schedule_copy
from tunefarm_coordinator.models.gpu_schedule import gpu_schedule
from tunefarm_coordinator.models.row_schedule import gives_one, is_rowwise, reduce_in_lanes, schedule_rows


def default_trace(task_module: str | Any, target_json: str) -> str:
    """Trace (text of `engines.trace_text`) of the default schedule of a kernel module.

    Args:
        task_module: normalised kernel module, or its `tvm.ir.save_json` text.
        target_json: target as JSON.

    A kernel that no rule fits keeps its loops as they are; nothing is raised for it.
    """
    module = module_text.load(task_module) if isinstance(task_module, str) else task_module
    return trace_text.encode(default_schedule(module, target_json).trace)


def default_schedule(module: Any, target_json: str) -> Any:
    """The scheduled kernel; see `default_trace`."""
    target = Target(target_json)
    if "gpu" in target.keys:
        return gpu_schedule(module, target)
    by_program = best_program(module, target)
    if by_program is not None:
        return by_program
    vectors = vectors_of(target_json)
    schedule = Schedule(module, debug_mask="none", error_render_level="fast")
    schedule = nests.inline_spatial(schedule)
    if dot_product(schedule, target_json) is not None:
        with contextlib.suppress(InvalidInput):
            first = TemplateSpace(module, target, random.Random(0)).first
            if first is not None:
                return first.schedule
    schedule = nests.inline_padding(schedule)
    if is_rowwise(schedule):
        by_row = nests.attempt(schedule, lambda s: schedule_rows(s, vectors))
        if by_row is not None:
            return by_row
    done: set[str] = set()
    for name in nests.leaf_names(schedule):
        if name in done or name not in nests.leaf_names(schedule):
            continue
        schedule, covered = _schedule_leaf(schedule, name, vectors, target)
        done |= covered
    return prepack.laid_out(schedule) if _reads_weights_as_they_lie(schedule) else schedule


def _reads_weights_as_they_lie(schedule: Any) -> bool:
    """Whether a reduction may have weights that no rule has laid out."""
    names = nests.leaf_names(schedule)
    leaves = [schedule.get(schedule.get_sblock(name)) for name in names]
    laid_out = any(prepack.LAID_OUT_BEFORE in leaf.annotations for leaf in leaves)
    return not laid_out and any(nests.reduces(schedule, name) for name in names)


def _schedule_leaf(schedule: Any, name: str, vectors: Vectors, target: Any) -> tuple[Any, set[str]]:
    if nests.reduces(schedule, name):
        if gives_one(schedule, name):
            in_lanes = nests.attempt(schedule, lambda s: reduce_in_lanes(s, name, vectors))
            if in_lanes is not None:
                return in_lanes, {name}
        epilogue = nests.epilogue(schedule, name)
        if epilogue is not None:
            tried = _tile_unevenly(schedule, name, epilogue, vectors, target)
            if tried is None:
                tried = nests.attempt(schedule, lambda s: _tile_reduction(s, name, epilogue, vectors))
            if tried is not None:
                return tried, {name, epilogue}
        tried = nests.attempt(schedule, lambda s: _plain_reduction(s, name, vectors))
    else:
        tried = nests.attempt(schedule, lambda s: schedule_copy(s, name, vectors))
    if tried is None:
        tried = nests.attempt(schedule, lambda s: _parallel_only(s, name))
    return tried or schedule, {name}


# Rule 3


def _tile_unevenly(schedule: Any, name: str, epilogue: str, vectors: Vectors, target: Any) -> Any | None:
    """With tiles that don't divide the axes, where those that do are slow; None elsewhere."""
    shape = uneven_tiles.preferred(schedule, name, vectors, target)
    if shape is None:
        return None
    tile = uneven_tiles.best_tile(shape, vectors)
    first = shape.lanes_first(tile)
    return nests.attempt(schedule, lambda s: uneven_tiles.tile_unevenly(s, name, epilogue, tile, first))


def _tile_reduction(schedule: Any, name: str, epilogue: str, vectors: Vectors) -> None:
    block = schedule.get_sblock(name)
    parallel = nests.is_large(schedule)
    row_axis, lanes_first = nests.row_axis(schedule, name), nests.weights_dominate(schedule, name)
    outer_block = schedule.get_sblock(epilogue) if epilogue else schedule.cache_write(block, 0, "global")
    loops = schedule.get_loops(outer_block)
    extents = [nests.extent(schedule, loop) for loop in loops]
    rows, lanes = nests.even_tile(schedule, name, 1 if row_axis is None else extents[row_axis], extents[-1], vectors)
    lane_outer, lane_inner = nests.split(schedule, loops[-1], lanes)
    outer = [loop for index, loop in enumerate(loops[:-1]) if index != row_axis]
    inner = [lane_inner]
    if row_axis is not None:
        row_outer, row_inner = nests.split(schedule, loops[row_axis], rows)
        outer.insert(min(row_axis, len(outer)), row_outer)
        inner = [row_inner, lane_inner]
    outer = [lane_outer, *outer] if lanes_first else [*outer, lane_outer]
    schedule.reorder(*outer, *inner)
    tile = schedule.fuse(*outer)
    schedule.compute_at(block, tile, preserve_unit_loops=True)
    if parallel and nests.extent(schedule, tile) > 1:
        schedule.parallel(tile)
    schedule.vectorize(lane_inner)
    if row_axis is not None:
        schedule.unroll(row_inner)
    _accumulate(schedule, block, row_axis, len(loops))
    if rows > 1:
        nests.unroll_window(schedule, f"{name}_update", rows * -(-lanes // vectors.lanes))


def _accumulate(schedule: Any, block: Any, row_axis: int | None, rank: int) -> None:
    """Inside a tile: the reduction outside, rows and lanes inside."""
    spatial = schedule.get_loops(block)[1 : 1 + rank]
    reduction = schedule.get_loops(block)[1 + rank :]
    kept = [loop for index, loop in enumerate(spatial[:-1]) if index != row_axis]
    rows = [] if row_axis is None else [spatial[row_axis]]
    schedule.reorder(*kept, *reduction, *rows, spatial[-1])
    schedule.vectorize(spatial[-1])
    for row in rows:
        schedule.unroll(row)
    init = schedule.decompose_reduction(block, reduction[0])
    init_loops = schedule.get_loops(init)
    schedule.vectorize(init_loops[-1])
    if rows:
        schedule.unroll(init_loops[-2])


# Other reductions


def _plain_reduction(schedule: Any, name: str, vectors: Vectors) -> None:
    block = schedule.get_sblock(name)
    rank = len(nests.extents(schedule, name, IterVar.DataPar))
    loops = schedule.get_loops(block)
    spatial, reduction = loops[:rank], loops[rank:]
    lanes = lane_tile(nests.extent(schedule, spatial[-1]), vectors.lanes)
    lane_outer, lane_inner = nests.split(schedule, spatial[-1], lanes)
    outer = schedule.fuse(*spatial[:-1], lane_outer)
    schedule.reorder(outer, *reduction, lane_inner)
    if nests.is_large(schedule) and nests.extent(schedule, outer) > 1:
        schedule.parallel(outer)
    if lanes > 1:
        schedule.vectorize(lane_inner)
    init = schedule.decompose_reduction(block, reduction[0])
    if lanes > 1:
        schedule.vectorize(schedule.get_loops(init)[-1])


def _parallel_only(schedule: Any, name: str) -> None:
    rank = len(nests.extents(schedule, name, IterVar.DataPar))
    loops = schedule.get_loops(schedule.get_sblock(name))[:rank]
    if nests.is_large(schedule):
        schedule.parallel(schedule.fuse(*loops))
