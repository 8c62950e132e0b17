"""Products of 8-bit integers by `engines.dot_products`: which kernels fit, and how their loops lie.

Weights are laid out as (tile, window, steps of four, registers, lanes, four), so that a register of them is one load;
a tile of rows and registers accumulates in registers, as in a product of floats.
"""

from dataclasses import dataclass
from typing import Any

from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.autotvm.knobs import divisors
from tunefarm_coordinator.engines.autotvm.operators import Kernel
from tunefarm_coordinator.engines.autotvm.registry import Job
from tunefarm_coordinator.engines.dot_products import STEPS, Dots, dots_of, register
from tunefarm_coordinator.engines.register_tiles import STACK_ELEMENTS

OPERATOR = "int8_product"
_PREPACKED = "meta_schedule.layout_rewrite_preproc"
_UNROLLED_STEPS = (0, 16, 64, 512)


@dataclass(frozen=True)
class DotProduct:
    """A kernel that fits: which of its block's reads are the weights, and how many lanes of a filter's axis go into
    one instruction."""

    weights: int
    lanes: int


def fitting(schedule: Any, name: str, dots: Dots) -> DotProduct | None:
    """What a reducing block is to the instructions; None where it is no product of theirs.

    It is one where the data's last axis is the last one of the reduction, and the (constant) weights' last two axes
    are that and the output's last axis.
    """
    block = schedule.get(schedule.get_sblock(name))
    spatial = [axis for axis in block.iter_vars if axis.iter_type == IterVar.DataPar]
    reduction = [axis for axis in block.iter_vars if axis.iter_type == IterVar.CommReduce]
    reads = [read for read in block.reads if not read.source.same_as(block.writes[0].source)]
    if len(reads) != 2 or not spatial or not reduction or str(block.writes[0].source.dtype) != "int32":
        return None
    function = schedule.mod["main"]
    free = [function.params[int(index)] for index in function.attrs.get("layout_free_buffers") or ()]
    weights = next((read for read in reads if any(read.source.same_as(weight) for weight in free)), None)
    data = next((read for read in reads if read is not weights), None)
    if weights is None or data is None or len(weights.region) < 2:
        return None
    if (str(data.source.dtype), str(weights.source.dtype)) != (dots.first, "int8"):
        return None
    lane, step = spatial[-1], reduction[-1]
    ends = (weights.region[-1], lane), (weights.region[-2], step), (data.region[-1], step)
    if not all(region.min.same_as(axis.var) for region, axis in ends) or nests.is_indexed_by(data, lane):
        return None
    lanes = dots.lanes(int(lane.dom.extent))
    if lanes is None or int(step.dom.extent) % STEPS:
        return None
    return DotProduct([read.source.same_as(weights.source) for read in block.reads].index(True), lanes)


def dot_product(schedule: Any, target_json: str) -> Kernel | None:
    """The kernel, where its one reduction fits the target's instructions."""
    dots = dots_of(target_json)
    reducing = [name for name in nests.leaf_names(schedule) if nests.reduces(schedule, name)] if dots else []
    if dots is None or len(reducing) != 1 or fitting(schedule, reducing[0], dots) is None:
        return None
    return Kernel(OPERATOR, reducing[0])


def schedule_dots(job: Job, dots: Dots, product: DotProduct) -> None:
    """Schedules a kernel that fits: its product and epilogue as one nest, what is left over as the default does."""
    register(dots)
    schedule, name = job.schedule, job.kernel.block
    block = schedule.get_sblock(name)
    parallel = nests.is_large(schedule)
    row_axis = nests.row_axis(schedule, name)
    dominant = int(nests.weights_dominate(schedule, name))
    epilogue = nests.epilogue(schedule, name)
    outer_block = schedule.get_sblock(epilogue) if epilogue else schedule.cache_write(block, 0, "global")
    loops = schedule.get_loops(outer_block)
    registers, rows = _tile(job, loops, row_axis, product.lanes)
    tile = _output_nest(job, loops, row_axis, (rows, registers, product.lanes), dominant)
    schedule.compute_at(block, tile, preserve_unit_loops=True)
    if parallel and nests.extent(schedule, tile) > 1:
        schedule.parallel(tile)
    steps = job.knobs.choice(_UNROLLED_STEPS, 0)
    _lay_out(schedule, block, product, registers)
    _accumulate(job, block, row_axis, (registers, product.lanes), dots)
    if steps:
        schedule.annotate(tile, "pragma_auto_unroll_max_step", steps)
        schedule.annotate(tile, "pragma_unroll_explicit", 1)
    _rest(job, tile)


def _output_nest(job: Job, loops: list[Any], row_axis: int | None, sizes: tuple[int, int, int], dominant: int) -> Any:
    """Splits and orders the epilogue's loops by `sizes` (rows, registers, lanes); gives the loop over tiles."""
    schedule = job.schedule
    lane_outer, *inner = schedule.split(loops[-1], [None, *sizes[1:]])
    outer = [loop for index, loop in enumerate(loops[:-1]) if index != row_axis]
    if row_axis is not None:
        row_outer, row_inner = schedule.split(loops[row_axis], [None, sizes[0]])
        outer.insert(row_axis, row_outer)
        inner.insert(0, row_inner)
    lanes_first = job.knobs.choice((0, 1), dominant)
    outer = [lane_outer, *outer] if lanes_first else [*outer, lane_outer]
    schedule.reorder(*outer, *inner)
    schedule.vectorize(inner[-1])
    for loop in inner[:-1]:
        _unroll(schedule, loop)
    return schedule.fuse(*outer)


def _tile(job: Job, loops: list[Any], row_axis: int | None, lanes: int) -> tuple[int, int]:
    """(registers of lanes, rows) that accumulate together, drawn one after the other."""
    most = min(job.vectors.accumulators, STACK_ELEMENTS // lanes)
    all_rows = 1 if row_axis is None else nests.extent(job.schedule, loops[row_axis])
    vectors = nests.extent(job.schedule, loops[-1]) // lanes
    registers, rows = _best(all_rows, vectors, most)
    columns = [(vectors // size, size, lanes) for size in divisors(vectors, most)]
    registers = job.knobs.tile(loops[-1], columns, (vectors // registers, registers, lanes))[1]
    if row_axis is None:
        return registers, 1
    sizes = divisors(all_rows, most // registers)
    default = max(size for size in sizes if size <= rows)
    options = [(all_rows // size, size) for size in sizes]
    return registers, job.knobs.tile(loops[row_axis], options, (all_rows // default, default))[1]


def _best(rows: int, vectors: int, most: int) -> tuple[int, int]:
    """As `register_tiles.register_tile`: a product takes a cycle, two loads or broadcasts another, a chain four."""

    def work_per_cycle(tile: tuple[int, int]) -> tuple[float, int]:
        registers, row = tile
        return row * registers / max(row * registers, (row + registers) / 2, 4.0), row * registers

    tiles = [(r, row) for r in divisors(vectors, most) for row in divisors(rows, most // r)]
    return max(tiles, key=work_per_cycle)


def _lay_out(schedule: Any, block: Any, product: DotProduct, registers: int) -> None:
    """The weights in the order in which they are read, by a nest that is taken out of the kernel."""
    pack = schedule.cache_read(block, product.weights, "global")
    lanes = product.lanes

    def order(*indices: Any) -> list[Any]:
        *window, step, lane = indices
        tile = [lane // (lanes * registers), *window, step // STEPS]
        return [*tile, lane // lanes % registers, lane % lanes, step % STEPS]

    # As a function, not as an `IndexMap`: TVM then gives the indices the dtype that the kernel's have.
    schedule.transform_layout(block, ("read", product.weights), order)
    schedule.annotate(pack, _PREPACKED, 1)


def _accumulate(job: Job, block: Any, row_axis: int | None, lane_tile: tuple[int, int], dots: Dots) -> None:
    schedule = job.schedule
    rank = len(nests.extents(schedule, job.kernel.block, IterVar.DataPar))
    spatial = schedule.get_loops(block)[1 : 1 + rank]
    reduction = schedule.get_loops(block)[1 + rank :]
    registers, lanes = schedule.split(spatial[-1], list(lane_tile))
    outer, four = schedule.split(reduction[-1], [None, STEPS])
    rows = [] if row_axis is None else [spatial[row_axis]]
    kept = [loop for index, loop in enumerate(spatial[:-1]) if index != row_axis]
    steps = [*reduction[:-1], outer]
    schedule.reorder(*kept, *steps, *rows, registers, lanes, four)
    for loop in [*rows, registers]:
        _unroll(schedule, loop)
    init = schedule.get_loops(schedule.decompose_reduction(block, steps[0]))
    schedule.vectorize(init[-1])
    for loop in init[-2 - len(rows) : -1]:
        _unroll(schedule, loop)
    schedule.tensorize(lanes, dots.intrinsic(lane_tile[1]))


def _rest(job: Job, tile: Any) -> None:
    """What follows with other sizes, as the default schedule has it."""
    schedule = job.schedule
    for name in nests.leaf_names(schedule):
        block = schedule.get_sblock(name)
        first = schedule.get_loops(block)[0]
        if _PREPACKED not in schedule.get(block).annotations and not schedule.get(first).same_as(schedule.get(tile)):
            nests.spatial(schedule, name, job.vectors)


def _unroll(schedule: Any, loop: Any) -> None:
    if nests.extent(schedule, loop) > 1:
        schedule.unroll(loop)
