"""The two orders of a value's axes, of two spatial axes or one: channels first (NCHW, the importer's) and channels last
(NHWC)."""

from typing import Any

from tvm import relax

from tunefarm_coordinator.models.constants import static_shape


def to_last(rank: int) -> tuple[int, ...]:
    """Axes of the channels-first form in the order of the channels-last form."""
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> tuple[int, ...]:
    """Axes of the channels-last form in the order of the channels-first form."""
    return (0, rank - 1, *range(1, rank - 1))


def last_axis(axis: int, rank: int) -> int:
    """Axis of the channels-last form that holds `axis` (which may count from the end) of the channels-first form."""
    return to_last(rank).index(axis % rank)


def same_bytes(last: tuple[int, ...] | None) -> bool:
    """Whether channels-last sizes lie in memory as their channels-first form does: one channel, or one pixel."""
    return last is not None and (last[-1] == 1 or all(size == 1 for size in last[1:-1]))


def reordered(expr: Any, order: tuple[int, ...]) -> Any:
    """`expr` with its axes in `order`; a reshape, which costs nothing, where no byte would move."""
    shape = static_shape(expr)
    if shape is None:
        return relax.op.permute_dims(expr, order)
    sizes = [shape[axis] for axis in order]
    # Axes of one point aside, the others keep their order.
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        return relax.op.reshape(expr, sizes)
    return relax.op.permute_dims(expr, order)
