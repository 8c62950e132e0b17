"""Depthwise and grouped convolutions on a GPU: none of their products of matrices is worth tiles in shared memory.

A thread computes a few pixels of a row for a few channels: a row of its window at a time goes to registers, and serves
all of its pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as combinations
from math import ceil
from typing import Any

from tvm.runtime import DataType
from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.gpu import nests as steps
from tunefarm_coordinator.engines.gpu.contraction import NoContraction
from tunefarm_coordinator.engines.gpu.limits import Limits

# Bytes of the widest load, and elements that are written at once.
_WIDE_BYTES, _WIDE_RESULT = 16, 4
_THREADS = (64, 128, 256)
_MOST_PIXELS = 8
# Sums that a thread keeps in registers.
_MOST_SUMS = 32
# Rows of a window: one after the other, or written out.
_ROWS_UNROLLED = (0, 1)
_UNROLLED = 1024
# An H100's, to tell schedules apart: seconds to launch; threads that keep a multiprocessor busy; cycles a second; loads
# of a multiprocessor in a cycle, and multiply-adds.
_LAUNCH, _BUSY_THREADS, _CYCLES, _LOADS, _PEAK = 2.5e-6, 768, 1.7e9, 16, 128


@dataclass(frozen=True)
class Windows:
    """Sizes of such a convolution, in elements.

    Attributes:
        images, rows, columns, filters: of the output.
        depth: input channels that are summed for a filter; `apart`: filters side by side that a thread may take.
        height, width: of the window; `stride`: of windows along a row.
        last: whether channels come last.
        dtype: of the operands.
    """

    images: int
    rows: int
    columns: int
    filters: int
    depth: int
    apart: int
    height: int
    width: int
    stride: int
    last: bool
    dtype: str


@dataclass(frozen=True)
class WindowTile:
    """How it is divided: threads of a block; pixels of a row and filters of a thread; whether a window's rows are
    written out."""

    threads: int
    pixels: int
    filters: int
    unrolled: int


def windows_of(schedule: Any, block: Any, last: bool) -> Windows:
    """The sizes of the convolution `block`, whose channels come last or second. Raises NoContraction."""
    found = schedule.get(block)
    name = str(found.name_hint)
    spatial = nests.extents(schedule, name, IterVar.DataPar)
    window = nests.extents(schedule, name, IterVar.CommReduce)
    if len(found.reads) != 2 or len(spatial) != 4 or len(window) != 3:
        raise NoContraction("not a convolution of images")
    images, rows, columns, filters = spatial if last else (spatial[0], *spatial[2:], spatial[1])
    height, width, depth = window if last else (*window[1:], window[0])
    shape = [int(extent) for extent in found.reads[0].source.shape]
    channels, across = (shape[3], shape[2]) if last else (shape[1], shape[3])
    of_a_group = filters * depth // channels
    return Windows(
        images=images,
        rows=rows,
        columns=columns,
        filters=filters,
        depth=depth,
        apart=filters if last and depth == of_a_group == 1 else of_a_group,
        height=height,
        width=width,
        stride=max(1, (across - width) // max(1, columns - 1)),
        last=last,
        dtype=str(found.reads[0].source.dtype),
    )


def window_options(sizes: Windows, limits: Limits) -> tuple[list[tuple[int, ...]], dict[tuple[int, ...], float]]:
    """(what each field of a tile may be, seconds that each tile which fits is estimated to take)."""
    widest = _WIDE_BYTES // int(DataType(sizes.dtype).itemsize)
    pixels = [size for size in range(1, _MOST_PIXELS + 1) if sizes.columns % size == 0]
    filters = [size for size in (1, 2, 4, 8) if size <= widest and sizes.apart % size == 0]
    fields: list[tuple[int, ...]] = [_THREADS, tuple(pixels), tuple(filters), _ROWS_UNROLLED]
    seconds = {}
    for values in combinations(*fields):
        tile = WindowTile(*values)
        if tile.pixels * tile.filters <= _MOST_SUMS:
            seconds[values] = window_seconds(sizes, tile, limits)
    return fields, seconds


def window_seconds(sizes: Windows, tile: WindowTile, limits: Limits) -> float:
    """What a tile is estimated to take: loads and multiply-adds of its threads, as long as there are enough to hide
    what they wait for. Only the order counts."""
    across = (tile.pixels - 1) * sizes.stride + sizes.width
    wide = tile.filters if sizes.last else 1
    rows = sizes.height * sizes.depth
    loads = rows * (across * (1 if sizes.last or sizes.depth > 1 else tile.filters) + sizes.width * tile.filters / wide)
    sums = rows * sizes.width * tile.pixels * tile.filters
    threads = sizes.images * sizes.rows * sizes.columns * sizes.filters / (tile.pixels * tile.filters)
    blocks = ceil(threads / tile.threads)
    waves = ceil(blocks / limits.processors) * tile.threads
    looped = 1.0 if tile.unrolled or sizes.height == 1 else 1.1
    cycles = looped * max(waves, _BUSY_THREADS) * (loads / _LOADS + sums / _PEAK)
    return _LAUNCH + cycles / _CYCLES


def schedule_windows(schedule: Any, block: Any, sizes: Windows, tile: WindowTile) -> None:
    """Schedules the convolution `block` and all around it. Raises NoContraction, and what TVM raises."""
    image, row, column, filters, depth, height, width = _loops(schedule, block, sizes)
    column, pixel = schedule.split(column, [None, tile.pixels])
    group, lane = schedule.split(filters, [None, tile.filters])
    order = (image, row, column, group) if sizes.last else (image, group, row, column)
    inner = (pixel, lane) if sizes.last else (lane, pixel)
    schedule.reorder(*order, depth, height, width, *inner)
    blocks, thread = schedule.split(schedule.fuse(*order), [None, tile.threads])
    schedule.bind(blocks, "blockIdx.x")
    schedule.bind(thread, "threadIdx.x")
    result = schedule.cache_write(block, 0, "local")
    schedule.reverse_compute_at(result, thread, preserve_unit_loops=True)
    for operand in (0, 1):
        _fetch(schedule, block, operand, height, wide=sizes.last)
    steps.inline_consumers(schedule, result)
    _write(schedule, result, thread)
    start = schedule.decompose_reduction(block, depth)
    for loop in schedule.get_loops(start)[-2:]:
        schedule.unroll(loop)
    _unroll(schedule, height if tile.unrolled else width)
    steps.finish(schedule)


def _loops(schedule: Any, block: Any, sizes: Windows) -> Sequence[Any]:
    """Loops over (images, rows, columns, filters, input channels, height and width of the window)."""
    loops = schedule.get_loops(block)
    places = (0, 1, 2, 3, 6, 4, 5) if sizes.last else (0, 2, 3, 1, 4, 5, 6)
    return [loops[place] for place in places]


def _fetch(schedule: Any, block: Any, operand: int, row: Any, *, wide: bool) -> None:
    """What one row of the windows needs of an operand, into registers."""
    registers = schedule.cache_read(block, operand, "local")
    schedule.compute_at(registers, row, preserve_unit_loops=True)
    if operand == 0:
        steps.inline_producers(schedule, registers)
    loops = steps.below(schedule, registers, row)
    if wide:
        schedule.vectorize(loops.pop())
    for loop in loops:
        schedule.unroll(loop)


def _write(schedule: Any, result: Any, thread: Any) -> None:
    """Writes of a thread, four elements at a time where they come out even."""
    *outer, last = steps.below(schedule, result, thread)
    extent = nests.extent(schedule, last)
    width = next(size for size in (_WIDE_RESULT, 2, 1) if extent % size == 0)
    turns, wide = schedule.split(last, [None, width])
    schedule.vectorize(wide)
    for loop in (*outer, turns):
        schedule.unroll(loop)


def _unroll(schedule: Any, loop: Any) -> None:
    schedule.annotate(loop, "pragma_auto_unroll_max_step", _UNROLLED)
    schedule.annotate(loop, "pragma_unroll_explicit", 0)
