"""Tiles of rows and lanes that need not divide their axes: whole ones, and at the end of each axis a smaller one.

A prime number of rows or channels has no divisor that is a good tile; what is left over after the last whole tile is
then a tile of its own, which `tails` compiles apart. Lanes are registers of the target's own width, since LLVM takes
a vector apart that is wider than a register and no power of two; a part of a register it widens to a whole one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.prepack import LAID_OUT_BEFORE
from tunefarm_coordinator.engines.register_tiles import (
    Vectors,
    register_tile,
    regularity,
    step_cycles,
    window_accumulators,
)

# An even tile is left for an uneven one that is estimated to do the work in so much of its time: its loops are in the
# trace as decisions, which search can change.
_PAYS = 0.87
_MOST_REGISTERS = 8
_TILE_CYCLES = 20


@dataclass(frozen=True)
class Shape:
    """A reduction's sizes, and how its tiles are given to threads.

    Attributes:
        rows, lanes: of one matrix of outputs.
        steps: of the reduction, for each output.
        batches: such matrices.
        weights_first: the operand that is read by lane is the larger one and is streamed once.
        threads: that work on it.
        by_lane: each lane has its own elements in both operands (`nests.reads_by_lane`).
    """

    rows: int
    lanes: int
    steps: int
    batches: int = 1
    weights_first: bool = False
    threads: int = 1
    by_lane: bool = False

    def lanes_first(self, tile: "Tile") -> bool:
        """Whether the tiles of the lanes' axis are the outer ones: not if that left one thread's work."""
        return self.weights_first and self.lanes // tile.columns > 1


@dataclass(frozen=True)
class Tile:
    """So many rows of so many registers of so many lanes each."""

    rows: int
    registers: int
    lanes: int

    @property
    def columns(self) -> int:
        """Lanes of all registers of a row."""
        return self.registers * self.lanes


def best_tile(shape: Shape, vectors: Vectors) -> Tile:
    """The tile that is estimated to take the fewest cycles; of those that are equally fast the one that loads least."""
    return min(tiles(shape, vectors), key=lambda tile: (cycles(shape, tile, vectors), _loads(tile)))


def tiles(shape: Shape, vectors: Vectors) -> list[Tile]:
    """All tiles that leave the accumulators in registers."""
    accumulators = window_accumulators(vectors) if shape.by_lane else vectors.accumulators
    width = min(shape.lanes, vectors.lanes)
    most = min(-(-shape.lanes // width), _MOST_REGISTERS)
    return [
        Tile(row, count, width)
        for count in range(1, most + 1)
        for row in range(1, min(shape.rows, accumulators // count) + 1)
    ]


def pays(shape: Shape, even: tuple[int, int], vectors: Vectors) -> bool:
    """Whether the best tile is faster than one of `even` (rows, lanes), which divides both axes."""
    regular = 1.0 if even[1] <= vectors.lanes and not shape.by_lane else regularity(even[1], vectors.lanes)
    tiles = shape.batches * (shape.rows // even[0]) * (shape.lanes // even[1])
    one = _tile_cycles(even[0], -(-even[1] // vectors.lanes), shape.steps, vectors)
    return cycles(shape, best_tile(shape, vectors), vectors) < _PAYS * -(-tiles // shape.threads) * one / regular


def cycles(shape: Shape, tile: Tile, vectors: Vectors) -> float:
    """Until the last thread is done: the outer loop's whole tiles are shared out, what is left over is done by one."""
    rows, lanes = list(_pieces(shape.rows, tile.rows)), list(_pieces(shape.lanes, tile.columns))
    lanes_first = shape.lanes_first(tile)
    outer, inner = (lanes, rows) if lanes_first else (rows, lanes)

    def one(size: int) -> float:
        pairs = [(count, (other, size) if lanes_first else (size, other)) for count, other in inner]
        return sum(
            count * _tile_cycles(row, -(-columns // tile.lanes), shape.steps, vectors)
            for count, (row, columns) in pairs
        )

    if shape.batches > 1 and len(outer) > 1:
        return -(-shape.batches // shape.threads) * sum(count * one(size) for count, size in outer)
    whole, *rest = [(count, one(size)) for count, size in outer]
    return -(-shape.batches * whole[0] // shape.threads) * whole[1] + sum(cycles for _, cycles in rest)


def _tile_cycles(rows: int, registers: int, steps: int, vectors: Vectors) -> float:
    """Steps of the reduction, and what begins and ends a tile."""
    return steps * step_cycles(rows, registers, vectors) + 2 * rows * registers + _TILE_CYCLES


def _pieces(extent: int, size: int) -> Iterator[tuple[int, int]]:
    """(how many, of which size) tiles an axis is cut into."""
    if extent >= size:
        yield extent // size, size
    if extent % size:
        yield 1, extent % size


def _loads(tile: Tile) -> float:
    return (tile.rows + tile.registers) / (tile.rows * tile.registers)


def rows_of(schedule: Any, name: str) -> tuple[int, ...]:
    """Output axes whose points are the rows of a tile: `nests.row_axis`; and, where a product has no window, the axes
    of an image together, so that it doesn't matter how long each is."""
    row = nests.row_axis(schedule, name)
    if row is None:
        return ()
    window = sorted(nests.extents(schedule, name, IterVar.CommReduce))[:-1]
    sizes = nests.extents(schedule, name, IterVar.DataPar)
    if row == 2 and len(sizes) in (4, 5) and len(window) == 2 and prod(window) == 1 and sizes[1] > 1:
        return 1, 2
    return (row,)


def shape_of(schedule: Any, name: str, threads: int) -> Shape:
    """Sizes of a reduction."""
    axes = nests.extents(schedule, name, IterVar.DataPar)
    rows = prod(axes[axis] for axis in rows_of(schedule, name))
    return Shape(
        rows=rows,
        lanes=axes[-1],
        steps=prod(nests.extents(schedule, name, IterVar.CommReduce)),
        batches=prod(axes) // (rows * axes[-1]),
        weights_first=nests.weights_dominate(schedule, name),
        threads=threads if nests.is_large(schedule) else 1,
        by_lane=nests.reads_by_lane(schedule, name),
    )


def preferred(schedule: Any, name: str, vectors: Vectors, target: Any) -> Shape | None:
    """The sizes of a reduction that even tiles are estimated to be slow for; None for any other."""
    axes = nests.extents(schedule, name, IterVar.DataPar)
    if not axes or nests.window_tile_of(schedule, name, vectors) is not None:
        return None
    shape = shape_of(schedule, name, int(target.attrs.get("num-cores", 1)))
    row = nests.row_axis(schedule, name)
    even = register_tile(1 if row is None else axes[row], shape.lanes, vectors)
    return shape if pays(shape, even, vectors) else None


def tile_unevenly(schedule: Any, name: str, epilogue: str, tile: Tile, lanes_first: bool) -> None:
    """Schedules a reduction and its epilogue ("" for none) as one nest of tiles."""
    row_axes = rows_of(schedule, name)
    _lay_out(schedule, name, tile)
    block = schedule.get_sblock(name)
    outer_block = schedule.get_sblock(epilogue) if epilogue else schedule.cache_write(block, 0, "global")
    if len(row_axes) > 1:
        _flatten_rows(schedule, block, outer_block, row_axes)
    depth = _output_nest(schedule, outer_block, block, (row_axes, tile, lanes_first))
    rank = len(schedule.get(outer_block).iter_vars)
    _accumulate(schedule, block, (depth, rank), tile, bool(row_axes))
    if tile.rows > 1:
        nests.unroll_window(schedule, f"{name}_update", tile.rows * tile.registers)


def _lay_out(schedule: Any, name: str, tile: Tile) -> None:
    """Free weights in panels that a tile reads from beginning to end, the last one filled up with zeros."""
    block = schedule.get_sblock(name)
    function = schedule.mod["main"]
    free = [function.params[int(index)] for index in function.attrs.get("layout_free_buffers") or ()]
    *batches, lane = [axis.var for axis in schedule.get(block).iter_vars if axis.iter_type == IterVar.DataPar]
    for index, read in enumerate(schedule.get(block).reads):
        places = [place for place, region in enumerate(read.region) if region.min.same_as(lane)]
        one = all(int(region.extent) == 1 for region in read.region)
        if not one or len(places) != 1 or not any(read.source.same_as(weight) for weight in free):
            continue
        packed = schedule.cache_read(block, index, "global")
        outer = [
            place for place, region in enumerate(read.region) if any(region.min.same_as(batch) for batch in batches)
        ]
        order = nests.index_map(_panels(places[0], outer, tile.columns), len(read.region))
        schedule.transform_layout(packed, ("write", 0), order, pad_value=0.0)
        schedule.annotate(packed, LAID_OUT_BEFORE, True)


def _panels(place: int, outer: list[int], columns: int) -> Callable[..., list[Any]]:
    """Panels of so many columns of the axis at `place`, those of one matrix after the other: `outer` are the axes that
    tell matrices apart."""

    def order(*indices: Any) -> list[Any]:
        inner = [each for position, each in enumerate(indices) if position not in (place, *outer)]
        first = [indices[position] for position in outer]
        return [*first, indices[place] // columns, *inner, indices[place] % columns]

    return order


def _flatten_rows(schedule: Any, block: Any, outer_block: Any, row_axes: tuple[int, ...]) -> None:
    """The product of an image's points, and what is done with it, as of a single axis of rows."""
    first, second = row_axes
    width = nests.extents(schedule, str(schedule.get(block).name_hint), IterVar.DataPar)[second]

    def flat(*indices: Any) -> list[Any]:
        return [*indices[:first], indices[first] * width + indices[second], *indices[second + 1 :]]

    rank = len(schedule.get(outer_block).iter_vars)
    schedule.transform_layout(block, ("write", 0), nests.index_map(flat, rank))
    schedule.transform_block_layout(block, nests.index_map(flat, len(schedule.get(block).iter_vars)))
    schedule.transform_block_layout(outer_block, nests.index_map(flat, rank))


def _output_nest(schedule: Any, outer_block: Any, block: Any, form: tuple[tuple[int, ...], Tile, bool]) -> int:
    """Tiles of the output, and in them what is accumulated; gives how many loops lie around a tile."""
    row_axes, tile, lanes_first = form
    loops = schedule.get_loops(outer_block)
    batches = [loop for index, loop in enumerate(loops[:-1]) if index not in row_axes[:1]]
    whole = [nests.extent(schedule, loops[-1]) % tile.columns == 0]
    lane_outer, registers, lanes = schedule.split(loops[-1], [None, tile.registers, tile.lanes])
    outer, inner = [lane_outer], [registers, lanes]
    if row_axes:
        rows = loops[row_axes[0]]
        whole.insert(0, nests.extent(schedule, rows) % tile.rows == 0)
        row_outer, row_inner = schedule.split(rows, [None, tile.rows])
        outer, inner = [row_outer, lane_outer], [row_inner, registers, lanes]
    if lanes_first:
        whole, outer = whole[::-1], outer[::-1]
    schedule.reorder(*batches, *outer, *inner)
    if whole[0] or prod(nests.extent(schedule, loop) for loop in batches) == 1:
        # A loop that is cut can be shared out itself, but not as a part of another one.
        batches.append(outer.pop(0))
    threads = schedule.fuse(*batches)
    outer.insert(0, threads)
    schedule.compute_at(block, outer[-1], preserve_unit_loops=True)
    if nests.is_large(schedule) and nests.extent(schedule, threads) > 1:
        schedule.parallel(threads)
    schedule.vectorize(inner[-1])
    for loop in inner[:-1]:
        schedule.unroll(loop)
    return len(outer)


def _accumulate(schedule: Any, block: Any, place: tuple[int, int], tile: Tile, has_rows: bool) -> None:
    """Inside a tile: the reduction outside; rows, registers and lanes inside. `place`: loops around the tile, and
    axes of the output."""
    depth, rank = place
    loops = schedule.get_loops(block)[depth:]
    spatial, reduction = loops[:rank], loops[rank:]
    registers, lanes = schedule.split(spatial[-1], [None, tile.lanes])
    schedule.reorder(*reduction, *spatial[:-1], registers, lanes)
    schedule.vectorize(lanes)
    unrolled = [*spatial[:-1], registers] if has_rows else [registers]
    for loop in unrolled:
        schedule.unroll(loop)
    init = schedule.get_loops(schedule.decompose_reduction(block, reduction[0]))
    schedule.vectorize(init[-1])
    for loop in init[-1 - len(unrolled) : -1]:
        schedule.unroll(loop)
