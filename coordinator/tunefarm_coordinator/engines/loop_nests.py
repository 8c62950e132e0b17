"""What the rules of the default schedule and the templates of AutoTVM ask a kernel's loop nests, and do with them."""

from collections.abc import Callable
from functools import partial
from math import inf, prod
from typing import Any

import tvm
from tvm.s_tir.analysis import estimate_tir_flops
from tvm.sym import detect_linear_equation
from tvm.tirx import ForKind, IterVar
from tvm.tirx.analysis import undefined_vars

from tunefarm_coordinator.engines.register_tiles import Vectors, lane_tile, register_tile, window_tile
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS

# A kernel with less work than this is done in the time that a second thread takes to begin and to be waited for: two to
# four microseconds (measured, with threads that still spin: on two of them silero-vad fell from 45 to 32).
_PARALLEL_FLOPS = 200_000.0
_PARALLEL_BYTES = 256 * 1024
# Padding that is read more often than this is copied beforehand (measured: depthwise ones and first layers of three
# channels lie below, other convolutions above).
_COPIED = 64.0
# So many vector instructions at most are made of a window whose steps are written out, and so many follow one another.
# (A maximum of 128 numbers in a row kept LLVM busy for ever.)
_UNROLLED, _CHAIN = 512, 64
# Steps along a row within which a vector that was loaded for another row is still in a register where rows are two
# elements apart (of 5 it is not: a depthwise 5x5/2 took half as long again).
_SHORT_WINDOW = 3
# Tiles may be changed up to this size: four of the widest vectors there are.
_LARGEST_TILE = 64


def attempt(schedule: Any, rule: Callable[[Any], None]) -> Any | None:
    """The schedule with `rule` applied, or None where it refuses; `schedule` itself stays as it was."""
    trial = schedule.copy()
    try:
        rule(trial)
    except TVM_ERRORS:
        return None
    return trial


def inline_spatial(schedule: Any) -> Any:
    """Inline every spatial block whose readers lose nothing by it."""
    for name in leaf_names(schedule):
        if reduces(schedule, name) or not _worth_inlining(schedule, name):
            continue
        schedule = attempt(schedule, partial(_inline, name=name)) or schedule
    for name in leaf_names(schedule):
        if not reduces(schedule, name) and _follows_groups(schedule, name):
            schedule = attempt(schedule, partial(_go_by_groups, name=name)) or schedule
    return schedule


def _follows_groups(schedule: Any, name: str) -> bool:
    """Whether a block reads a reduction whose last two axes lie along its last one."""
    sources = [str(schedule.get(each).name_hint) for each in schedule.get_producers(schedule.get_sblock(name))]
    if len(sources) != 1 or not reduces(schedule, sources[0]):
        return False
    outer = extents(schedule, sources[0], IterVar.DataPar)
    return len(outer) > 1 and [*outer[:-2], prod(outer[-2:])] == extents(schedule, name, IterVar.DataPar)


def _go_by_groups(schedule: Any, name: str) -> None:
    """Gives what follows a grouped convolution the convolution's axes: two for the one that the filters of all groups
    lie along."""
    (source,) = schedule.get_producers(schedule.get_sblock(name))
    sizes = extents(schedule, str(schedule.get(source).name_hint), IterVar.DataPar)

    def by_groups(*indices: Any) -> list[Any]:
        return [*indices[:-1], indices[-1] // sizes[-1], indices[-1] % sizes[-1]]

    schedule.transform_block_layout(schedule.get_sblock(name), index_map(by_groups, len(sizes) - 1))
    # Changes nothing but how places are written: (group * size + own) // size becomes group.
    schedule.transform_layout(source, ("write", 0), index_map(lambda *indices: list(indices), len(sizes)))


def _inline(schedule: Any, name: str) -> None:
    schedule.compute_inline(schedule.get_sblock(name))


def _worth_inlining(schedule: Any, name: str) -> bool:
    block = schedule.get_sblock(name)
    readers = [str(schedule.get(reader).name_hint) for reader in schedule.get_consumers(block)]
    if not any(reduces(schedule, reader) for reader in readers):
        return True
    stored = schedule.get(block).body
    return isinstance(getattr(stored, "value", None), tvm.ir.TensorLoad)


def inline_padding(schedule: Any) -> Any:
    """Inline padding that is read so seldom that a padded copy costs more than asking at each read whether it is
    inside. Not where the answer differs from lane to lane: TVM takes such a load apart."""
    for name in leaf_names(schedule):
        if not reduces(schedule, name) and seldom_read_padding(schedule, name):
            schedule = attempt(schedule, partial(_inline, name=name)) or schedule
    return schedule


def seldom_read_padding(schedule: Any, name: str) -> bool:
    """Whether a spatial block pads what one reduction reads, too seldom for a copy to be worth it."""
    return is_padding(schedule, name) and _reads_per_element(schedule, name) < _COPIED


def is_padding(schedule: Any, name: str) -> bool:
    """Whether a block gives what it reads or, by a condition that its last axis has no part in, a constant."""
    block = schedule.get(schedule.get_sblock(name))
    value = getattr(block.body, "value", None)
    if not isinstance(value, tvm.ir.Call) or not str(value.op.name).endswith(".if_then_else"):
        return False
    condition, inside, outside = value.args
    if not isinstance(inside, tvm.ir.TensorLoad) or not isinstance(outside, tvm.tirx.FloatImm | tvm.tirx.IntImm):
        return False
    return not any(block.iter_vars[-1].var.same_as(variable) for variable in undefined_vars(condition, []))


def _reads_per_element(schedule: Any, name: str) -> float:
    """How often the one reduction that reads a block reads each of its elements; infinity for other readers."""
    block = schedule.get_sblock(name)
    readers = [str(schedule.get(reader).name_hint) for reader in schedule.get_consumers(block)]
    if len(readers) != 1 or not reduces(schedule, readers[0]):
        return inf
    steps = prod(int(axis.dom.extent) for axis in schedule.get(schedule.get_sblock(readers[0])).iter_vars)
    return steps / prod(extents(schedule, name, IterVar.DataPar))


def epilogue(schedule: Any, name: str) -> str | None:
    """The one spatial block that reads the reduction element by element, or a new one that copies its output
    from the accumulators; None where the reader has other sizes."""
    block = schedule.get_sblock(name)
    readers = schedule.get_consumers(block)
    if not readers:
        return ""
    if len(readers) != 1:
        return None
    reader = str(schedule.get(readers[0]).name_hint)
    same_sizes = extents(schedule, name, IterVar.DataPar) == extents(schedule, reader, IterVar.DataPar)
    return reader if same_sizes and not reduces(schedule, reader) else None


def spatial(schedule: Any, name: str, vectors: Vectors) -> None:
    """Rule for a kernel without a reduction: outer loops fused and parallel, the last one vectorised."""
    loops = schedule.get_loops(schedule.get_sblock(name))
    sizes = [extent(schedule, loop) for loop in loops]
    if len(sizes) > 1 and is_padding(schedule, name) and sizes[-1] < vectors.lanes // 2:
        # LLVM makes vectors of a row whose ends are asked for; TVM would divide for each lane.
        _by_rows(schedule, loops)
        return
    if sizes[-1] < vectors.lanes // 2:
        flat = schedule.fuse(*loops)
        outer, inner = split(schedule, flat, lane_tile(prod(sizes), vectors.lanes))
    else:
        lane_outer, inner = split(schedule, loops[-1], lane_tile(sizes[-1], vectors.lanes))
        outer = schedule.fuse(*loops[:-1], lane_outer)
    if is_large(schedule) and extent(schedule, outer) > 1:
        schedule.parallel(outer)
    schedule.vectorize(inner)


def _by_rows(schedule: Any, loops: list[Any]) -> None:
    """The last two loops as one, the ones around it fused and parallel."""
    schedule.fuse(*loops[-2:])
    if len(loops) > 2:
        outer = schedule.fuse(*loops[:-2])
        if is_large(schedule) and extent(schedule, outer) > 1:
            schedule.parallel(outer)


def split(schedule: Any, loop: Any, size: int) -> list[Any]:
    """(outer, inner) with an inner loop of `size`, which divides the extent. It stands in the trace as a decision, so
    that search can start from this schedule and change it."""
    outer = extent(schedule, loop) // size
    tile = schedule.sample_perfect_tile(loop, n=2, max_innermost_factor=_LARGEST_TILE, decision=[outer, size])
    inner: list[Any] = schedule.split(loop, tile)
    return inner


def row_axis(schedule: Any, name: str) -> int | None:
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


def window_tile_of(schedule: Any, name: str, vectors: Vectors) -> tuple[int, int] | None:
    """(rows, lanes) of a depthwise convolution's tile (`window_tile`); None for other reductions."""
    block = schedule.get(schedule.get_sblock(name))
    axes = [axis for axis in block.iter_vars if axis.iter_type == IterVar.DataPar]
    row = row_axis(schedule, name)
    steps = prod(extents(schedule, name, IterVar.CommReduce))
    if row is None or steps == 1 or len(block.reads) != 2:
        return None
    if not reads_by_lane(schedule, name):
        return None
    return window_tile(int(axes[row].dom.extent), int(axes[-1].dom.extent), vectors)


def reads_by_lane(schedule: Any, name: str) -> bool:
    """Whether each lane of a reduction has elements of its own in all operands (depthwise convolutions, pools), so that
    each step loads a vector for each row. Elsewhere a row loads one element for all lanes, which costs next to nothing:
    first layers whose steps were written out for the rows' sake took a quarter longer, 3x3/2 of 16 channels 1.6 x."""
    block = schedule.get(schedule.get_sblock(name))
    lane = [axis for axis in block.iter_vars if axis.iter_type == IterVar.DataPar][-1]
    read = [each for each in block.reads if not any(each.source.same_as(made.source) for made in block.writes)]
    return all(is_indexed_by(each, lane) for each in read)


def even_tile(schedule: Any, name: str, rows: int, lanes: int, vectors: Vectors) -> tuple[int, int]:
    """Sizes, which divide `rows` and `lanes`, of the tile of a reduction that a core works on in its registers."""
    return window_tile_of(schedule, name, vectors) or register_tile(rows, lanes, vectors)


def _rows_share_vectors(schedule: Any, name: str) -> bool:
    """Whether what a row loads for one step of a window is what the row beside it loads for the next one; or, where
    rows are several elements apart, for one so soon that it is still there."""
    row = row_axis(schedule, name)
    if row is None or not reads_by_lane(schedule, name):
        return False
    block = schedule.get(schedule.get_sblock(name))
    summed = [axis for axis in block.iter_vars if axis.iter_type == IterVar.CommReduce]
    beside = [axis.var for axis in block.iter_vars if axis.iter_type == IterVar.DataPar][row]
    for place in (each.min for read in block.reads for each in read.region):
        window = prod(int(axis.dom.extent) for axis in summed if _uses(list(undefined_vars(place, [])), axis))
        apart = detect_linear_equation(place, [beside])
        if window > 1 and apart and int(apart[0]) > 0:
            return int(apart[0]) == 1 or window <= _SHORT_WINDOW
    return False


def unroll_window(schedule: Any, name: str, registers: int) -> None:
    """Writes the innermost loops of a short reduction out if neighbouring rows then share the vectors that they load.

    Args:
        name: block that accumulates.
        registers: accumulators of its tile.
    """
    if not _rows_share_vectors(schedule, name):
        return
    block = schedule.get_sblock(name)
    steps = 1
    for loop in reversed(schedule.get_loops(block)):
        if int(schedule.get(loop).kind) != ForKind.SERIAL:
            continue
        steps *= extent(schedule, loop)
        if steps > _CHAIN or steps * registers > _UNROLLED:
            return
        schedule.unroll(loop)


def weights_dominate(schedule: Any, name: str) -> bool:
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


def is_indexed_by(region: Any, axis: Any) -> bool:
    """Whether a buffer region depends on an axis of its block."""
    return _uses(_variables(region), axis)


def lies_along(region: Any, axis: Any) -> bool:
    """Whether neighbours along an axis of a block are neighbours in one of its buffer regions."""
    long = [each.min for each, size in zip(region.region, region.source.shape, strict=True) if int(size) > 1]
    return bool(long) and axis.var.same_as(long[-1])


def _uses(variables: list[Any], axis: Any) -> bool:
    return any(axis.var.same_as(variable) for variable in variables)


def _variables(region: Any) -> list[Any]:
    return [
        var
        for dimension in region.region
        for expression in (dimension.min, dimension.extent)
        for var in undefined_vars(expression, [])
    ]


def leaf_names(schedule: Any) -> list[str]:
    children = schedule.get_child_blocks(schedule.get_sblock("root"))
    return [str(schedule.get(child).name_hint) for child in children]


def reduces(schedule: Any, name: str) -> bool:
    return bool(extents(schedule, name, IterVar.CommReduce))


def extents(schedule: Any, name: str, kind: int) -> list[int]:
    axes = schedule.get(schedule.get_sblock(name)).iter_vars
    return [int(axis.dom.extent) for axis in axes if axis.iter_type == kind]


def extent(schedule: Any, loop: Any) -> int:
    return int(schedule.get(loop).extent)


def is_large(schedule: Any) -> bool:
    """Whether a second thread is worth waking: by arithmetic, or by bytes for what has none."""
    function = schedule.mod["main"]
    touched = sum(4 * prod(int(extent) for extent in parameter.shape) for parameter in function.params)
    return touched >= _PARALLEL_BYTES or float(estimate_tir_flops(schedule.mod)) >= _PARALLEL_FLOPS


def index_map(order: Callable[..., list[Any]], rank: int) -> tvm.tirx.IndexMap:
    """The index map of a function of `rank` indices that takes them as `*indices`."""
    return tvm.tirx.IndexMap.from_func(order, ndim=rank)
