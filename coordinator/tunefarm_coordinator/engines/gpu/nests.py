"""Steps that the GPU schedules share: splitting the reduction over blocks, fetching tiles, inlining neighbours."""

from collections.abc import Callable
from math import gcd
from typing import Any

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.gpu.contraction import NoContraction
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS

# On the root block of a kernel whose shared memory a schedule here has arranged (`cuda.kernels` lowers it as it is).
ARRANGED = "tunefarm.arranged"
# Most threads of a block that adds up the parts of a split reduction.
_SUMMING_THREADS = 128


def split_reduction(schedule: Any, block: Any, depth: int, splits: int) -> tuple[Any, Any, list[Any]]:
    """Splits a normalised block's reduction into steps of `depth` and, over blocks, into `splits` parts.

    Returns:
        (the block that computes, the block that adds up its parts or None, loops [s, i, j, step, k] of the former).
        Parts are of channels, then of the window: never of both in one, which no tile could be fetched for.
    """
    batch, row, column, window, channel = schedule.get_loops(block)
    step, inner = schedule.split(channel, [None, depth])
    if splits == 1:
        return block, None, [batch, row, column, schedule.fuse(window, step), inner]
    of_channels = gcd(splits, nests.extent(schedule, step))
    of_window = splits // of_channels
    if nests.extent(schedule, window) % of_window:
        raise NoContraction(f"the reduction does not split into {splits} equal parts")
    window_part, window = schedule.split(window, [of_window, None])
    channel_part, step = schedule.split(step, [of_channels, None])
    schedule.reorder(window_part, channel_part, window, step)
    parts = schedule.rfactor(schedule.fuse(window_part, channel_part), 0)
    batch, row, column, part, window, step, inner = schedule.get_loops(parts)
    step = schedule.fuse(window, step)
    schedule.reorder(part, batch, row, column, step, inner)
    return parts, block, [schedule.fuse(part, batch), row, column, step, inner]


def below(schedule: Any, block: Any, loop: Any) -> list[Any]:
    """The loops of `block` inside `loop`."""
    loops = schedule.get_loops(block)
    position = next(i for i, each in enumerate(loops) if schedule.get(each).same_as(schedule.get(loop)))
    return list(loops[position + 1 :])


def widest(elements: int, threads: int, width: int) -> int:
    """The widest load, at most `width` elements, with which `threads` fetch `elements` without a rest.

    Raises NoContraction: not even single elements come out even."""
    while elements % (threads * width):
        if width == 1:
            raise NoContraction(f"{threads} threads can't share a tile of {elements} elements")
        width //= 2
    return width


def inline_producers(schedule: Any, block: Any) -> None:
    """Everything that `block` reads from is computed where it is read. Raises NoContraction: something can't be."""
    while _any(schedule.compute_inline, _all(schedule.get_producers, block)):
        pass
    if schedule.get_producers(block):
        raise NoContraction("what an operand is computed from can't be inlined")


def inline_consumers(schedule: Any, block: Any) -> None:
    """Everything that reads `block` is computed where it is written. Raises NoContraction: something can't be."""
    while _any(schedule.compute_inline, _all(schedule.get_consumers, block)):
        pass
    while _any(schedule.reverse_compute_inline, _all(schedule.get_consumers, block)):
        pass
    if schedule.get_consumers(block):
        raise NoContraction("what follows the product can't be inlined")


def pipeline(schedule: Any, step: Any, stages: int) -> None:
    """Tiles of later steps are on their way (cp.async) while one is worked on: `stages` tiles in all."""
    if stages > 1:
        schedule.annotate(step, "software_pipeline_stage", [0, 0, stages - 1])
        schedule.annotate(step, "software_pipeline_order", [0, 1, 2])
        schedule.annotate(step, "software_pipeline_async_stages", [0])


def sum_parts(schedule: Any, block: Any) -> None:
    """Schedules the block that adds up the parts of a split reduction, and the epilogue with it, as a kernel."""
    while _any(schedule.compute_inline, _all(schedule.get_consumers, block)):
        pass
    last = schedule.get_consumers(block)
    if len(last) != 1 or schedule.get_consumers(last[0]):
        raise NoContraction("what follows the product can't be inlined")
    loop = schedule.fuse(*schedule.get_loops(last[0]))
    elements = nests.extent(schedule, loop)
    # Without a rest: the sums would be computed for threads beyond the last element, too.
    threads = next(count for count in range(_SUMMING_THREADS, 0, -1) if elements % count == 0)
    blocks, threads = schedule.split(loop, [None, threads])
    schedule.bind(blocks, "blockIdx.x")
    schedule.bind(threads, "threadIdx.x")
    schedule.compute_at(block, threads)
    schedule.set_scope(block, 0, "local")
    # Unrolled, its first step is the start.
    schedule.unroll(schedule.get_loops(block)[-1])


def finish(schedule: Any) -> None:
    """Marks the kernel as arranged. Raises NoContraction where a nest runs on no thread, as no GPU can run it."""
    for name in nests.leaf_names(schedule):
        loops = schedule.get_loops(schedule.get_sblock(name))
        if not any(schedule.get(loop).thread_binding is not None for loop in loops):
            raise NoContraction(f"{name} runs on no thread")
    schedule.annotate(schedule.get_sblock("root"), ARRANGED, 1)


def _all(neighbours: Callable[[Any], list[Any]], block: Any) -> list[Any]:
    found = []
    for each in neighbours(block):
        found += [each, *_all(neighbours, each)]
    return found


def _any(inline: Callable[[Any], None], blocks: list[Any]) -> bool:
    done = False
    for block in blocks:
        try:
            inline(block)
            done = True
        except TVM_ERRORS:  # not this one, or not yet: others have to go first
            continue
    return done
