"""Products of matrices on a GPU's tensor cores: tiles in shared memory, in them a tile of fragments for each warp."""

from dataclasses import dataclass
from typing import Any

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.gpu import fragments
from tunefarm_coordinator.engines.gpu import nests as steps
from tunefarm_coordinator.engines.gpu.contraction import NoContraction, normalised
from tunefarm_coordinator.engines.gpu.fragments import EDGE, Fragments, fragments_of

_WARP = 32
MOST_WARPS = 16
# Bytes of a wide load, and of what the first operand's rows in shared memory are moved apart by; elements of what the
# second's are: so that a fragment's rows lie in other banks.
_WIDE_BYTES = 16
_PAD = 8
# Elements of float32 that a thread writes at once.
_WIDE_RESULT = 4


@dataclass(frozen=True)
class FragmentTile:
    """How a product is divided.

    Attributes:
        rows, columns, depth: of a block's tile, multiples of a fragment's edge.
        warp_rows, warp_columns: how many warps share the rows, and the columns.
        splits: parts of the reduction, each a block's.
        stages: tiles of each operand in shared memory, all but one on their way.
    """

    rows: int
    columns: int
    depth: int
    warp_rows: int
    warp_columns: int
    splits: int = 1
    stages: int = 1

    @property
    def warps(self) -> int:
        return self.warp_rows * self.warp_columns

    def shared_bytes(self, element: int) -> int:
        """Shared memory of a block; `element`: bytes of an operand's."""
        operands = self.rows * (self.depth + _WIDE_BYTES // element) + self.depth * (self.columns + _PAD)
        return max(self.stages * element * operands, 4 * self.rows * (self.columns + _WIDE_RESULT))


def schedule_fragments(schedule: Any, block: Any, tile: FragmentTile) -> None:
    """Schedules the product `block` and all around it. Raises NoContraction, and what TVM raises."""
    if tile.rows % (EDGE * tile.warp_rows) or tile.columns % (EDGE * tile.warp_columns) or tile.depth % EDGE:
        raise NoContraction("fragments don't divide the tile")
    if tile.warps > MOST_WARPS:
        raise NoContraction(f"{tile.warps} warps in a block")
    product = normalised(schedule, block)
    if product.dtype == "float32" and not product.tf32:
        raise NoContraction("float32 may not be rounded to TF32 in this kernel")
    kind = fragments_of(product.dtype)
    schedule.pad_einsum(block, [1, tile.rows, tile.columns, 1, tile.depth])
    main, whole, (batch, row, column, step, inner) = steps.split_reduction(schedule, block, tile.depth, tile.splits)
    row_block, row_warp, row_tile, row = schedule.split(
        row, [None, tile.warp_rows, _per(tile.rows, tile.warp_rows), EDGE]
    )
    column_block, column_warp, column_tile, column = schedule.split(
        column, [None, tile.warp_columns, _per(tile.columns, tile.warp_columns), EDGE]
    )
    slow, fast = schedule.split(inner, [None, kind.depth])
    schedule.reorder(
        *(batch, row_block, column_block, row_warp, column_warp, step, slow, row_tile, column_tile, row, column, fast)
    )
    tiled = schedule.blockize(row)
    warp = schedule.fuse(row_warp, column_warp)
    schedule.bind(batch, "blockIdx.y")
    schedule.bind(schedule.fuse(row_block, column_block), "blockIdx.x")
    schedule.bind(warp, "threadIdx.y")
    for operand in (0, 1):
        _fetch(schedule, tiled, operand, step, tile.warps, kind.dtype)
    loaded = [schedule.cache_read(tiled, operand, f"wmma.matrix_{name}") for operand, name in enumerate("ab")]
    for block_of_loads in loaded:
        schedule.compute_at(block_of_loads, slow)
        if kind.held != kind.dtype:
            schedule.unsafe_set_dtype(block_of_loads, 0, kind.held)
    result = schedule.cache_write(tiled, 0, "shared.dyn")
    sums = schedule.cache_write(tiled, 0, "wmma.accumulator")
    schedule.reverse_compute_at(sums, warp)
    schedule.reverse_compute_at(result, warp)
    schedule.storage_align(sums, 0, -2, EDGE, _WIDE_RESULT)
    _tensorize(schedule, kind, tiled, main, loaded, sums, step)
    schedule.unroll(row_tile)
    schedule.unroll(column_tile)
    if whole is None:
        steps.inline_consumers(schedule, result)
    _, thread, wide = schedule.split(schedule.fuse(*schedule.get_loops(result)[-2:]), [None, _WARP, _WIDE_RESULT])
    schedule.bind(thread, "threadIdx.x")
    schedule.vectorize(wide)
    steps.pipeline(schedule, step, tile.stages)
    if whole is not None:
        steps.sum_parts(schedule, whole)
    steps.finish(schedule)


def _per(extent: int, warps: int) -> int:
    """Fragments along an axis for each warp."""
    return extent // warps // EDGE


def _fetch(schedule: Any, block: Any, operand: int, step: Any, warps: int, dtype: str) -> None:
    """A tile of an operand into shared memory, by all threads of the block."""
    shared = schedule.cache_read(block, operand, "shared.dyn")
    schedule.compute_at(shared, step, preserve_unit_loops=True)
    loop = schedule.fuse(*steps.below(schedule, shared, step))
    width = steps.widest(nests.extent(schedule, loop), warps * _WARP, _WIDE_BYTES // _bytes(dtype))
    turns, warp, thread, wide = schedule.split(loop, [None, warps, _WARP, width])
    schedule.bind(warp, "threadIdx.y")
    schedule.bind(thread, "threadIdx.x")
    schedule.vectorize(wide)
    schedule.unroll(turns)
    schedule.storage_align(shared, 0, axis=-2, factor=EDGE, offset=_PAD if operand else _WIDE_BYTES // _bytes(dtype))
    steps.inline_producers(schedule, shared)


def _bytes(dtype: str) -> int:
    return 4 if dtype.endswith("32") else 2


def _tensorize(schedule: Any, kind: Fragments, tiled: Any, main: Any, loaded: list[Any], sums: Any, step: Any) -> None:
    fragments.register()
    start = schedule.decompose_reduction(tiled, step)
    for block, name, rows, columns in (
        (loaded[0], kind.load_first, EDGE, kind.depth),
        (loaded[1], kind.load_second, kind.depth, EDGE),
        (sums, kind.store, EDGE, EDGE),
    ):
        row, column = schedule.get_loops(block)[-2:]
        outer_row, row = schedule.split(row, [None, rows])
        outer_column, column = schedule.split(column, [None, columns])
        schedule.reorder(outer_row, outer_column, row, column)
        schedule.unroll(outer_row)
        schedule.unroll(outer_column)
        schedule.tensorize(row, name)
    filled = schedule.get_child_blocks(start)[0]
    schedule.tensorize(schedule.get_loops(filled)[-2], kind.fill)
    schedule.tensorize(schedule.get_loops(main)[-3], kind.product)
