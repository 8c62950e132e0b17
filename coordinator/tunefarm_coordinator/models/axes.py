"""The two orders of a 4-d value's axes: NCHW ("first", the importer's) and NHWC ("last")."""

from typing import Any

from tvm import relax

from tunefarm_coordinator.models.constants import static_shape

TO_LAST = (0, 2, 3, 1)
TO_FIRST = (0, 3, 1, 2)
# Axis of the NHWC form that holds an axis of the NCHW form.
LAST_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}


def same_bytes(last: tuple[int, ...] | None) -> bool:
    """Whether NHWC sizes `last` lie in memory as their NCHW form does: one channel, or one pixel."""
    return last is not None and (last[3] == 1 or last[1] * last[2] == 1)


def reordered(expr: Any, order: tuple[int, ...]) -> Any:
    """`expr` with its axes in `order`; a reshape, which costs nothing, where no byte would move."""
    shape = static_shape(expr)
    if shape is None:
        return relax.op.permute_dims(expr, order)
    sizes = [shape[axis] for axis in order]
    last = sizes if order == TO_LAST else shape
    if same_bytes(tuple(last)):
        return relax.op.reshape(expr, sizes)
    return relax.op.permute_dims(expr, order)
