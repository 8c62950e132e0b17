"""What templates of products share: tiles of the output in parallel, in them tiles for the caches, in those a tile of
rows and lanes that accumulates in registers, with the epilogue computed on it.

The defaults of all knobs are the default schedule's tiling (`models.default_schedule`).
"""

from dataclasses import dataclass
from typing import Any

from tvm.s_tir.analysis import estimate_tir_flops
from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines import uneven_tiles
from tunefarm_coordinator.engines.autotvm.knobs import Knobs, divisors, tilings
from tunefarm_coordinator.engines.autotvm.registry import Job
from tunefarm_coordinator.engines.register_tiles import STACK_ELEMENTS, Vectors, register_tile, regularity
from tunefarm_coordinator.engines.uneven_tiles import Shape, Tile

_UNROLLED_STEPS = (0, 16, 64, 512)
_UNROLLED_REDUCTION = 16
# Less work than this may be done sooner by one thread than by several that have to be woken up.
_SERIAL_FLOPS = 2_000_000.0
# Where padding is done: in a nest of its own, at the tile of a thread, at each read.
_PAD_APART, _PAD_AT_TILE, _PAD_INLINE = range(3)
# In a job's memory: the sizes that uneven tiles are made for, or None.
_UNEVEN = "uneven"


@dataclass(frozen=True)
class Form:
    """How a template lays its operator out.

    Attributes:
        rows: output axes that may have rows in registers.
        lanes: output axes that may be vectorised, the default first. One that is not the last is for operands
            whose layout is free: their values of neighbouring lanes are then laid side by side.
        reductions: orders of the reduction's axes, outermost first, the default first.
        split_reduction: reduction axis of which some steps may be unrolled; None for none.
    """

    rows: tuple[int, ...]
    lanes: tuple[int, ...]
    reductions: tuple[tuple[int, ...], ...] = ((0,),)
    split_reduction: int | None = 0


@dataclass(frozen=True)
class _Axis:
    """One output axis: sizes of its loops, outermost first, and what of them lies in registers."""

    position: int
    sizes: tuple[int, ...]
    lanes: bool = False

    @property
    def registers(self) -> tuple[int, ...]:
        return self.sizes[2:]


def tile_product(job: Job, form: Form) -> None:
    """Schedules a kernel: its reduction and epilogue as one nest, what is left over as the default does."""
    if _tiled_unevenly(job):
        return
    schedule, knobs = job.schedule, job.knobs
    block = schedule.get_sblock(job.kernel.block)
    parallel = _parallel(job)
    lanes = [axis for axis in form.lanes if _may_be_lanes(schedule, job.kernel.block, axis)]
    lane = knobs.choice(lanes, lanes[0])
    epilogue = nests.epilogue(schedule, job.kernel.block)
    outer_block = schedule.get_sblock(epilogue) if epilogue else schedule.cache_write(block, 0, "global")
    loops = schedule.get_loops(outer_block)
    axes = _axes(job, loops, lane, form.rows)
    if lane != len(loops) - 1:
        _lanes_last(schedule, block, lane, len(loops))
    tile, caches = _output_nest(job, loops, axes)
    pad = _pad(job, lane == len(loops) - 1)
    schedule.compute_at(block, caches[-1], preserve_unit_loops=True)
    if pad is not None:
        schedule.compute_at(pad, tile)
        schedule.vectorize(schedule.get_loops(pad)[-1])
    if parallel and nests.extent(schedule, tile) > 1:
        schedule.parallel(tile)
    _accumulate(job, block, axes, form)
    steps = knobs.choice(_UNROLLED_STEPS, 0)
    if steps:
        schedule.annotate(tile, "pragma_auto_unroll_max_step", steps)
        schedule.annotate(tile, "pragma_unroll_explicit", 1)
    for name in nests.leaf_names(schedule):
        first = schedule.get_loops(schedule.get_sblock(name))[0]
        if not schedule.get(first).same_as(schedule.get(tile)):
            # Padding, or what follows with other sizes: as the default schedule has it.
            nests.spatial(schedule, name, job.vectors)


def _tiled_unevenly(job: Job) -> bool:
    """Decides for tiles that don't divide their axes, where those are estimated to be faster, and makes them."""
    name = job.kernel.block
    if _UNEVEN not in job.memory:
        job.memory[_UNEVEN] = uneven_tiles.preferred(job.schedule, name, job.vectors, job.target)
    epilogue, shape = nests.epilogue(job.schedule, name), job.memory[_UNEVEN]
    if epilogue is None or not isinstance(shape, Shape):
        return False
    if not job.knobs.choice((0, 1), 1):
        return False
    tile, lanes_first = _uneven_tile(job, shape)
    tried = nests.attempt(job.schedule, lambda s: uneven_tiles.tile_unevenly(s, name, epilogue, tile, lanes_first))
    if tried is None:
        return False
    for left in sorted({*nests.leaf_names(job.schedule)} - {name, epilogue}):
        nests.spatial(tried, left, job.vectors)
    job.schedule, job.laid_out = tried, True
    return True


def _uneven_tile(job: Job, shape: Shape) -> tuple[Tile, bool]:
    best = uneven_tiles.best_tile(shape, job.vectors)
    all_tiles = uneven_tiles.tiles(shape, job.vectors)
    registers = job.knobs.choice(sorted({tile.registers for tile in all_tiles}), best.registers)
    fitting = [tile for tile in all_tiles if tile.registers == registers]
    best_rows = min(best.rows, max(tile.rows for tile in fitting))
    rows = job.knobs.choice([tile.rows for tile in fitting], best_rows)
    tile = next(tile for tile in fitting if tile.rows == rows)
    first = job.knobs.choice((0, 1), int(shape.lanes_first(best)))
    return tile, bool(first)


def _parallel(job: Job) -> bool:
    if not nests.is_large(job.schedule):
        return False
    small = float(estimate_tir_flops(job.schedule.mod)) < _SERIAL_FLOPS
    return bool(job.knobs.choice((0, 1) if small else (1,), 1))


def _may_be_lanes(schedule: Any, name: str, axis: int) -> bool:
    """Whether an output axis can be vectorised: the last, or one that only a free weight is indexed by."""
    block = schedule.get(schedule.get_sblock(name))
    spatial = [each for each in block.iter_vars if each.iter_type == IterVar.DataPar]
    if axis == len(spatial) - 1:
        return True
    function = schedule.mod["main"]
    free = [function.params[int(index)] for index in function.attrs.get("layout_free_buffers") or ()]
    by_axis = [read.source for read in block.reads if nests.is_indexed_by(read, spatial[axis])]
    return bool(by_axis) and all(any(source.same_as(weight) for weight in free) for source in by_axis)


def _axes(job: Job, loops: list[Any], lane: int, row_axes: tuple[int, ...]) -> list[_Axis]:
    """Sizes of all output axes: lanes first, then rows as far as there are registers."""
    schedule, vectors = job.schedule, job.vectors
    extents = [nests.extent(schedule, loop) for loop in loops]
    main_row = nests.row_axis(schedule, job.kernel.block) if lane == len(loops) - 1 else len(loops) - 1
    rows = 1 if main_row is None else extents[main_row]
    if lane == len(loops) - 1:
        default_rows, default_lanes = nests.even_tile(schedule, job.kernel.block, rows, extents[lane], vectors)
    else:
        default_rows, default_lanes = register_tile(rows, extents[lane], vectors)
    # The default's tile may be of an axis that has other sizes once its lanes are another axis.
    lane_sizes = job.knobs.tile(
        loops[lane],
        _lane_options(extents[lane], default_lanes, vectors),
        (extents[lane] // default_lanes, 1, 1, default_lanes),
    )
    axes = {lane: _Axis(lane, lane_sizes, lanes=True)}
    left = _rows_that_fit(lane_sizes, vectors)
    for position in sorted({*row_axes} - {lane}, key=lambda position: position != main_row):
        extent = extents[position]
        default = max(divisors(extent, min(default_rows, left))) if position == main_row else 1
        options = tilings(extent, [(size,) for size in divisors(extent, left)], 2)
        sizes = job.knobs.tile(loops[position], options, (extent // default, 1, default))
        axes[position] = _Axis(position, sizes)
        left //= sizes[-1]
    return [axes.get(position) or _Axis(position, (extent, 1, 1)) for position, extent in enumerate(extents)]


def _lane_options(extent: int, default: int, vectors: Vectors) -> list[tuple[int, ...]]:
    """Splits of the lanes' axis into (tile, cache, registers, lanes of one)."""
    sizes = divisors(extent, 4 * vectors.lanes)
    regular = [size for size in sizes if regularity(size, vectors.lanes) > 0.5 and 4 * size >= vectors.lanes]
    inner = [
        (count, size)
        for size in {*regular, default}
        for count in divisors(extent // size, 4)
        if count * -(-size // vectors.lanes) <= vectors.accumulators // 2
    ]
    return tilings(extent, sorted({*inner, (1, default)}), 2)


def _rows_that_fit(lane_sizes: tuple[int, ...], vectors: Vectors) -> int:
    registers = lane_sizes[-2] * -(-lane_sizes[-1] // vectors.lanes)
    return max(1, min(vectors.accumulators // registers, STACK_ELEMENTS // (lane_sizes[-2] * lane_sizes[-1])))


def _lanes_last(schedule: Any, block: Any, lane: int, rank: int) -> None:
    """The accumulators with the lanes' axis last, so that a vector of them is one register."""

    def order(*indices: Any) -> list[Any]:
        return [*(index for position, index in enumerate(indices) if position != lane), indices[lane]]

    schedule.transform_layout(block, ("write", 0), nests.index_map(order, rank))


def _output_nest(job: Job, loops: list[Any], axes: list[_Axis]) -> tuple[Any, list[Any]]:
    """Splits and orders the epilogue's loops; gives the tile's loop and the caches' loops, outermost first."""
    schedule, knobs = job.schedule, job.knobs
    split = [schedule.split(loop, list(axis.sizes)) for loop, axis in zip(loops, axes, strict=True)]
    lane = next(axis.position for axis in axes if axis.lanes)
    others = [axis.position for axis in axes if not axis.lanes]
    dominant = int(nests.weights_dominate(schedule, job.kernel.block))
    lanes_first = [_order(knobs, axes, level, dominant) for level in (0, 1)]
    outer_order, cache_order = ([lane, *others] if first else [*others, lane] for first in lanes_first)
    outer = [split[position][0] for position in outer_order]
    caches = [split[position][1] for position in cache_order]
    inner = [loop for position in [*others, lane] for loop in split[position][2:]]
    schedule.reorder(*outer, *caches, *inner)
    tile = schedule.fuse(*outer)
    for axis in axes:
        if not axis.lanes:
            _unroll(schedule, split[axis.position][2])
    if lane == len(axes) - 1:
        _unroll(schedule, split[lane][2])
        schedule.vectorize(split[lane][3])
    return tile, caches


def _order(knobs: Knobs, axes: list[_Axis], level: int, default: int) -> int:
    """Whether the lanes' loop of a level is the outermost; nothing to choose where it is the only one or none."""
    matters = {axis.lanes for axis in axes if axis.sizes[level] > 1} == {True, False}
    return knobs.choice((0, 1) if matters else (default,), default)


def _accumulate(job: Job, block: Any, axes: list[_Axis], form: Form) -> None:
    """Inside a register tile: the reduction outside, rows and lanes inside."""
    schedule, knobs = job.schedule, job.knobs
    rank = len(axes)
    reduction_axes = len(form.reductions[0])
    loops = schedule.get_loops(block)
    spatial, reduction = loops[-rank - reduction_axes : -reduction_axes], loops[-reduction_axes:]
    order = [reduction[axis] for axis in _reduction_order(job, reduction, form)]
    steps: list[Any] = []
    if form.split_reduction is not None:
        loop = reduction[form.split_reduction]
        extent = nests.extent(schedule, loop)
        options = [(extent // size, size) for size in divisors(extent, _UNROLLED_REDUCTION)]
        outer, inner = schedule.split(loop, list(knobs.tile(loop, options, (extent, 1))))
        order = [outer if each is loop else each for each in order]
        steps = [inner]
    lane = next(axis for axis in axes if axis.lanes)
    registers, lanes = schedule.split(spatial[lane.position], list(lane.registers))
    rows = [spatial[axis.position] for axis in axes if not axis.lanes]
    schedule.reorder(*order, *steps, *rows, registers, lanes)
    schedule.vectorize(lanes)
    for loop in [*steps, *rows, registers]:
        _unroll(schedule, loop)
    init = schedule.get_loops(schedule.decompose_reduction(block, order[0]))
    schedule.vectorize(init[-1])
    for loop in init[-len(rows) - 2 : -1]:
        _unroll(schedule, loop)


def _reduction_order(job: Job, loops: list[Any], form: Form) -> tuple[int, ...]:
    """One of the form's orders; nothing to choose where a single loop has more than one step."""
    several = sum(nests.extent(job.schedule, loop) > 1 for loop in loops) > 1
    return form.reductions[job.knobs.choice(range(len(form.reductions) if several else 1), 0)]


def _pad(job: Job, last_lanes: bool) -> Any | None:
    """Decides where padding is done; gives the block where that is at the tile. Not at each read where lanes are
    pixels: TVM takes such a load apart, lane by lane (14 to 114 times slower on four kernels)."""
    schedule = job.schedule
    block = schedule.get_sblock(job.kernel.block)
    producers = schedule.get_producers(block)
    if len(producers) != 1:
        return None
    channels_last = job.kernel.operator.endswith("_nhwc")
    inline = [_PAD_INLINE] if channels_last or not last_lanes else []
    seldom = nests.seldom_read_padding(schedule, str(schedule.get(producers[0]).name_hint))
    where = job.knobs.choice([_PAD_APART, _PAD_AT_TILE, *inline], _PAD_INLINE if inline and seldom else _PAD_APART)
    if where == _PAD_INLINE:
        schedule.compute_inline(producers[0])
    return producers[0] if where == _PAD_AT_TILE else None


def _unroll(schedule: Any, loop: Any) -> None:
    if nests.extent(schedule, loop) > 1:
        schedule.unroll(loop)
