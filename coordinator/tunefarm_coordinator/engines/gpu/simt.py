"""Products of matrices on a GPU's ordinary arithmetic units: tiles in shared memory, in them a tile for each thread."""

from dataclasses import dataclass
from typing import Any

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.gpu import nests as steps
from tunefarm_coordinator.engines.gpu.contraction import NoContraction, normalised

# Elements of a wide load (16 bytes of float32), of its padding in shared memory, and steps of k in registers at once.
_WIDE = 4
_UNROLLED = 1024
LEAST_THREADS, MOST_THREADS = 32, 512


@dataclass(frozen=True)
class SimtTile:
    """How a product is divided.

    Attributes:
        rows, columns, depth: of a block's tile.
        thread_rows, thread_columns: of a thread's; its columns lie in groups of four, apart.
        splits: parts of the reduction, each a block's.
        stages: tiles of each operand in shared memory, all but one on their way.
    """

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int
    splits: int = 1
    stages: int = 1

    @property
    def threads(self) -> int:
        return self.rows // self.thread_rows * (self.columns // self.thread_columns)

    def shared_bytes(self, element: int) -> int:
        """Shared memory of a block; `element`: bytes of one."""
        return self.stages * element * (self.rows * (self.depth + _WIDE) + self.depth * self.columns)


def schedule_simt(schedule: Any, block: Any, tile: SimtTile) -> None:
    """Schedules the product `block` and all around it. Raises NoContraction, and what TVM raises."""
    if tile.rows % tile.thread_rows or tile.columns % tile.thread_columns:
        raise NoContraction("a thread's tile does not divide the block's")
    if not LEAST_THREADS <= tile.threads <= MOST_THREADS:
        raise NoContraction(f"{tile.threads} threads in a block")
    normalised(schedule, block)
    schedule.pad_einsum(block, [1, tile.rows, tile.columns, 1, tile.depth])
    main, whole, (batch, row, column, step, inner) = steps.split_reduction(schedule, block, tile.depth, tile.splits)
    lanes = tile.columns // tile.thread_columns
    row_block, row_thread, row = schedule.split(row, [None, tile.rows // tile.thread_rows, tile.thread_rows])
    column_block, group, column_thread, column = schedule.split(
        column, [None, tile.thread_columns // _WIDE, lanes, _WIDE]
    )
    slow, fast = schedule.split(inner, [None, min(_WIDE, tile.depth)])
    schedule.reorder(batch, row_block, column_block, group, row_thread, column_thread, step, slow, fast, row, column)
    if nests.extent(schedule, group) > 1:
        schedule.bind(group, "vthread.x")
    schedule.bind(batch, "blockIdx.y")
    schedule.bind(schedule.fuse(row_block, column_block), "blockIdx.x")
    thread = schedule.fuse(row_thread, column_thread)
    schedule.bind(thread, "threadIdx.x")
    result = schedule.cache_write(main, 0, "local")
    schedule.reverse_compute_at(result, thread, preserve_unit_loops=True)
    first = _fetch(schedule, main, 0, step, tile.threads)
    _fetch(schedule, main, 1, step, tile.threads)
    schedule.storage_align(first, 0, axis=-2, factor=tile.depth, offset=_WIDE)
    for operand in (0, 1):
        registers = schedule.cache_read(main, operand, "local")
        schedule.compute_at(registers, slow)
        schedule.vectorize(schedule.get_loops(registers)[-1])
    if whole is None:
        steps.inline_consumers(schedule, result)
    schedule.vectorize(schedule.get_loops(result)[-1])
    start = schedule.decompose_reduction(main, step)
    for loop in schedule.get_loops(start)[-2:]:
        schedule.unroll(loop)
    schedule.annotate(slow, "pragma_auto_unroll_max_step", _UNROLLED)
    schedule.annotate(slow, "pragma_unroll_explicit", 0)
    steps.pipeline(schedule, step, tile.stages)
    if whole is not None:
        steps.sum_parts(schedule, whole)
    steps.finish(schedule)


def _fetch(schedule: Any, block: Any, operand: int, step: Any, threads: int) -> Any:
    """A tile of an operand into shared memory, by all threads of the block."""
    shared = schedule.cache_read(block, operand, "shared.dyn")
    schedule.compute_at(shared, step, preserve_unit_loops=True)
    loop = schedule.fuse(*steps.below(schedule, shared, step))
    width = steps.widest(nests.extent(schedule, loop), threads, _WIDE)
    turns, thread, wide = schedule.split(loop, [None, threads, width])
    schedule.bind(thread, "threadIdx.x")
    schedule.vectorize(wide)
    schedule.unroll(turns)
    steps.inline_producers(schedule, shared)
    return shared
