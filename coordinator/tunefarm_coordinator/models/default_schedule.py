"""The schedule of a kernel that nobody has tuned: parallel, vectorised, accumulating in registers.

One naive loop nest runs SqueezeNet in 285 ms, ONNX Runtime in 5 (facts.md). What these rules give is the
baseline that a tuned kernel is measured against, and what runs where there is no record. It is built with
`tvm.s_tir.Schedule`, so it is a trace like any candidate's.

Rules, each tried on a copy and dropped where the schedule refuses it:
1. inline what only moves or maps values into the kernels that read them;
2. a reduction and the element-wise epilogue of its own sizes become one nest: tiles of the output in
   parallel, and in a tile the reduction outside, rows (unrolled) and lanes (vectorised) inside, so that the
   accumulators stay in registers;
3. any other kernel: outer loops fused and parallel, last loop vectorised.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir.analysis import estimate_tir_flops
from tvm.tirx import IterVar
from tvm.tirx.analysis import undefined_vars

from tunefarm_coordinator.engines import trace_text
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.models.tiling import Vectors, lane_tile, register_tile, vectors_of

# A kernel with less work than this is done before a second thread has woken up.
_PARALLEL_FLOPS = 20_000.0
_PARALLEL_BYTES = 64 * 1024
# Tiles may be changed up to this size: four of the widest vectors there are.
_LARGEST_TILE = 64


def default_trace(task_module: str | Any, target_json: str) -> str:
    """Trace (text of `engines.trace_text`) of the default schedule of a kernel module.

    Args:
        task_module: normalised kernel module, or its `tvm.ir.save_json` text.
        target_json: target as JSON, of a CPU.

    A kernel that no rule fits keeps its loops as they are; nothing is raised for it.
    """
    module = tvm.ir.load_json(task_module) if isinstance(task_module, str) else task_module
    return trace_text.encode(default_schedule(module, target_json).trace)


def default_schedule(module: Any, target_json: str) -> Any:
    """The scheduled kernel; see `default_trace`."""
    vectors = vectors_of(target_json)
    schedule = Schedule(module, debug_mask="none", error_render_level="fast")
    schedule = _inline_spatial(schedule)
    done: set[str] = set()
    for name in _leaf_names(schedule):
        if name in done or name not in _leaf_names(schedule):
            continue
        schedule, covered = _schedule_leaf(schedule, name, vectors)
        done |= covered
    return schedule


def _schedule_leaf(schedule: Any, name: str, vectors: Vectors) -> tuple[Any, set[str]]:
    if _reduces(schedule, name):
        epilogue = _epilogue(schedule, name)
        if epilogue is not None:
            tried = _attempt(schedule, lambda s: _tile_reduction(s, name, epilogue, vectors))
            if tried is not None:
                return tried, {name, epilogue}
        tried = _attempt(schedule, lambda s: _plain_reduction(s, name, vectors))
    else:
        tried = _attempt(schedule, lambda s: _spatial(s, name, vectors))
    if tried is None:
        tried = _attempt(schedule, lambda s: _parallel_only(s, name))
    return tried or schedule, {name}


def _attempt(schedule: Any, rule: Callable[[Any], None]) -> Any | None:
    """The schedule with `rule` applied, or None where it refuses; `schedule` itself stays as it was."""
    trial = schedule.copy()
    try:
        rule(trial)
    except TVM_ERRORS:
        return None
    return trial


# Rule 1


def _inline_spatial(schedule: Any) -> Any:
    """Inline every spatial block whose readers lose nothing by it."""
    for name in _leaf_names(schedule):
        if _reduces(schedule, name) or not _worth_inlining(schedule, name):
            continue
        schedule = _attempt(schedule, partial(_inline, name=name)) or schedule
    return schedule


def _inline(schedule: Any, name: str) -> None:
    schedule.compute_inline(schedule.get_sblock(name))


def _worth_inlining(schedule: Any, name: str) -> bool:
    block = schedule.get_sblock(name)
    readers = [str(schedule.get(reader).name_hint) for reader in schedule.get_consumers(block)]
    if not any(_reduces(schedule, reader) for reader in readers):
        return True
    stored = schedule.get(block).body
    return isinstance(getattr(stored, "value", None), tvm.ir.TensorLoad)


# Rule 2


def _epilogue(schedule: Any, name: str) -> str | None:
    """The one spatial block that reads the reduction element by element, or a new one that copies its output
    from the accumulators; None where the reader has other sizes."""
    block = schedule.get_sblock(name)
    readers = schedule.get_consumers(block)
    if not readers:
        return ""
    if len(readers) != 1:
        return None
    reader = str(schedule.get(readers[0]).name_hint)
    same_sizes = _extents(schedule, name, IterVar.DataPar) == _extents(schedule, reader, IterVar.DataPar)
    return reader if same_sizes and not _reduces(schedule, reader) else None


def _tile_reduction(schedule: Any, name: str, epilogue: str, vectors: Vectors) -> None:
    block = schedule.get_sblock(name)
    parallel = _is_large(schedule)
    row_axis, lanes_first = _row_axis(schedule, name), _weights_dominate(schedule, name)
    outer_block = schedule.get_sblock(epilogue) if epilogue else schedule.cache_write(block, 0, "global")
    loops = schedule.get_loops(outer_block)
    extents = [_extent(schedule, loop) for loop in loops]
    rows, lanes = register_tile(1 if row_axis is None else extents[row_axis], extents[-1], vectors)
    lane_outer, lane_inner = _split(schedule, loops[-1], lanes)
    outer = [loop for index, loop in enumerate(loops[:-1]) if index != row_axis]
    inner = [lane_inner]
    if row_axis is not None:
        row_outer, row_inner = _split(schedule, loops[row_axis], rows)
        outer.insert(min(row_axis, len(outer)), row_outer)
        inner = [row_inner, lane_inner]
    outer = [lane_outer, *outer] if lanes_first else [*outer, lane_outer]
    schedule.reorder(*outer, *inner)
    tile = schedule.fuse(*outer)
    schedule.compute_at(block, tile, preserve_unit_loops=True)
    if parallel and _extent(schedule, tile) > 1:
        schedule.parallel(tile)
    schedule.vectorize(lane_inner)
    if row_axis is not None:
        schedule.unroll(row_inner)
    _accumulate(schedule, block, row_axis, len(loops))


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


def _row_axis(schedule: Any, name: str) -> int | None:
    """The output axis to repeat the vector instruction over: one that the operand which changes from lane to
    lane does not depend on, so that one load serves all rows; the last such axis with more than one row."""
    block = schedule.get(schedule.get_sblock(name))
    axes = [axis for axis in block.iter_vars if axis.iter_type == IterVar.DataPar]
    if len(axes) < 2:
        return None
    operands = [_variables(read) for read in block.reads]
    by_lane = [used for used in operands if _uses(used, axes[-1])]
    candidates = [index for index in range(len(axes) - 1) if int(axes[index].dom.extent) > 1]
    for index in reversed(candidates):
        if any(not _uses(used, axes[index]) for used in by_lane):
            return index
    return candidates[-1] if candidates else None


def _weights_dominate(schedule: Any, name: str) -> bool:
    """Whether the operand that is indexed by lane but not by row is the larger one: then the lanes' tiles go
    outermost, and it is streamed through the caches once."""
    block = schedule.get(schedule.get_sblock(name))
    axes = [axis for axis in block.iter_vars if axis.iter_type == IterVar.DataPar]
    sizes: dict[bool, int] = {True: 0, False: 0}
    for read in block.reads:
        by_lane = _uses(_variables(read), axes[-1])
        size = prod(int(extent) for extent in read.source.shape)
        sizes[by_lane] = max(sizes[by_lane], size)
    return sizes[True] > sizes[False] > 0


def _uses(variables: list[Any], axis: Any) -> bool:
    return any(axis.var.same_as(variable) for variable in variables)


def _variables(region: Any) -> list[Any]:
    return [
        var
        for dimension in region.region
        for expression in (dimension.min, dimension.extent)
        for var in undefined_vars(expression, [])
    ]


# Rule 3


def _plain_reduction(schedule: Any, name: str, vectors: Vectors) -> None:
    block = schedule.get_sblock(name)
    rank = len(_extents(schedule, name, IterVar.DataPar))
    loops = schedule.get_loops(block)
    spatial, reduction = loops[:rank], loops[rank:]
    lanes = lane_tile(_extent(schedule, spatial[-1]), vectors.lanes)
    lane_outer, lane_inner = _split(schedule, spatial[-1], lanes)
    outer = schedule.fuse(*spatial[:-1], lane_outer)
    schedule.reorder(outer, *reduction, lane_inner)
    if _is_large(schedule) and _extent(schedule, outer) > 1:
        schedule.parallel(outer)
    if lanes > 1:
        schedule.vectorize(lane_inner)
    init = schedule.decompose_reduction(block, reduction[0])
    if lanes > 1:
        schedule.vectorize(schedule.get_loops(init)[-1])


def _spatial(schedule: Any, name: str, vectors: Vectors) -> None:
    loops = schedule.get_loops(schedule.get_sblock(name))
    extents = [_extent(schedule, loop) for loop in loops]
    if extents[-1] < vectors.lanes // 2:
        flat = schedule.fuse(*loops)
        outer, inner = _split(schedule, flat, lane_tile(prod(extents), vectors.lanes))
    else:
        lane_outer, inner = _split(schedule, loops[-1], lane_tile(extents[-1], vectors.lanes))
        outer = schedule.fuse(*loops[:-1], lane_outer)
    if _is_large(schedule) and _extent(schedule, outer) > 1:
        schedule.parallel(outer)
    schedule.vectorize(inner)


def _parallel_only(schedule: Any, name: str) -> None:
    rank = len(_extents(schedule, name, IterVar.DataPar))
    loops = schedule.get_loops(schedule.get_sblock(name))[:rank]
    if _is_large(schedule):
        schedule.parallel(schedule.fuse(*loops))


def _split(schedule: Any, loop: Any, size: int) -> list[Any]:
    """(outer, inner) with an inner loop of `size`, which divides the extent. It stands in the trace as a decision, so
    that search can start from this schedule and change it."""
    outer = _extent(schedule, loop) // size
    tile = schedule.sample_perfect_tile(loop, n=2, max_innermost_factor=_LARGEST_TILE, decision=[outer, size])
    inner: list[Any] = schedule.split(loop, tile)
    return inner


# What the rules ask about a schedule


def _leaf_names(schedule: Any) -> list[str]:
    children = schedule.get_child_blocks(schedule.get_sblock("root"))
    return [str(schedule.get(child).name_hint) for child in children]


def _reduces(schedule: Any, name: str) -> bool:
    return bool(_extents(schedule, name, IterVar.CommReduce))


def _extents(schedule: Any, name: str, kind: int) -> list[int]:
    axes = schedule.get(schedule.get_sblock(name)).iter_vars
    return [int(axis.dom.extent) for axis in axes if axis.iter_type == kind]


def _extent(schedule: Any, loop: Any) -> int:
    return int(schedule.get(loop).extent)


def _is_large(schedule: Any) -> bool:
    """Whether a second thread is worth waking: by arithmetic, or by bytes for what has none."""
    function = schedule.mod["main"]
    touched = sum(4 * prod(int(extent) for extent in parameter.shape) for parameter in function.params)
    return touched >= _PARALLEL_BYTES or float(estimate_tir_flops(schedule.mod)) >= _PARALLEL_FLOPS
