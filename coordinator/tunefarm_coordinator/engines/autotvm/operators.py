"""Which operator a kernel is: told by its one reduction, which names and iterators of TOPI's operators show."""

import re
from dataclasses import dataclass
from typing import Any

from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests

_CONVOLUTION = re.compile(r"(?:(group|depthwise)_)?conv2d_(nchw|nhwc)")
_PRODUCT = re.compile(r"(?:T_)?(?:batch_)?(?:matmul|dense)")


@dataclass(frozen=True)
class Kernel:
    """A kernel that templates exist for.

    Attributes:
        operator: such as "conv2d_3x3_nhwc" or "dense".
        block: name of the block that reduces.
    """

    operator: str
    block: str


def recognised(schedule: Any) -> Kernel | None:
    """What an unscheduled kernel computes; None for one that is no convolution or product, or several."""
    reducing = [name for name in nests.leaf_names(schedule) if nests.reduces(schedule, name)]
    if len(reducing) != 1:
        return None
    operator = _operator(schedule, reducing[0])
    return None if operator is None else Kernel(operator, reducing[0])


def _operator(schedule: Any, name: str) -> str | None:
    convolution = _CONVOLUTION.match(name)
    spatial = nests.extents(schedule, name, IterVar.DataPar)
    reduction = nests.extents(schedule, name, IterVar.CommReduce)
    by_groups = convolution is not None and convolution[1] == "group" and len(spatial) == 5
    if convolution and (len(spatial) == 4 or by_groups) and len(reduction) == 3:
        return f"{_convolution(convolution[1], convolution[2], reduction)}_{convolution[2]}"
    if len(spatial) == 4 and len(reduction) == 3 and "data_dilate" in nests.leaf_names(schedule):
        return "conv2d_transpose_nchw"
    if _PRODUCT.match(name) and len(reduction) == 1 and len(spatial) >= 2:
        return "batch_matmul" if _is_batched(schedule, name) else "dense"
    return None


def _convolution(kind: str | None, layout: str, reduction: list[int]) -> str:
    channels, *window = reduction if layout == "nchw" else [reduction[2], *reduction[:2]]
    if kind is not None:
        return "depthwise_conv2d" if channels == 1 else "grouped_conv2d"
    return {(1, 1): "conv2d_1x1", (3, 3): "conv2d_3x3"}.get((window[0], window[1]), "conv2d")


def _is_batched(schedule: Any, name: str) -> bool:
    """Whether both operands have the product's first axis."""
    block = schedule.get(schedule.get_sblock(name))
    axis = block.iter_vars[0]
    if len(nests.extents(schedule, name, IterVar.DataPar)) < 3:
        return False
    return all(nests.is_indexed_by(read, axis) for read in block.reads)
