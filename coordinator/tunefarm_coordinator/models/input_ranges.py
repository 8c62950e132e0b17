"""Which values a model's inputs may have, by what its graph does with them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tunefarm_coordinator.models.small_constants import known_graph
from tunefarm_coordinator.models.value_demands import ANYTHING, Demand, Use, demands

# Integers of which nothing is known: every vocabulary has this many entries.
SMALL_INTEGERS = 10


@dataclass(frozen=True)
class InputRange:
    """Integers from `low` up to `high`, which is left out."""

    low: int
    high: int


ONES = InputRange(1, 2)


def input_ranges(model: onnx.ModelProto) -> dict[str, InputRange]:
    """For every input of integers or booleans, and for those of floats of which the graph asks for integers (ids that
    are cast, masks). `model`: its inputs with static sizes; weights outside the file need not be loaded."""
    found = demands(known_graph(model))
    initializers = {tensor.name for tensor in model.graph.initializer}
    ranges = {}
    for value in model.graph.input:
        if value.name in initializers:
            continue
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        chosen = _range(value.name, dtype, found.get(value.name, ANYTHING))
        if chosen is not None:
            ranges[value.name] = chosen
    return ranges


def _range(name: str, dtype: Any, demand: Demand) -> InputRange | None:
    if dtype.kind == "b":
        return ONES if demand.high >= 1 else InputRange(0, 1)
    if dtype.kind not in "iu":
        if Use.INDEX in demand.use:
            return _window(demand, -math.inf, math.inf)
        return ONES if Use.HIDING in demand.use else None
    info = np.iinfo(dtype)
    if _is_mask(name, demand) and demand.low <= 1 <= demand.high:
        return ONES
    return _window(demand, info.min, info.max)


def _is_mask(name: str, demand: Demand) -> bool:
    """The graph says so; a name counts where values are but multiplied."""
    if Use.INDEX in demand.use:
        return False
    if demand.use & (Use.TRUTH | Use.HIDING):
        return True
    return "mask" in name.lower() and (Use.FACTOR in demand.use or demand == ANYTHING)


def _window(demand: Demand, least: float, most: float) -> InputRange:
    """The smallest integers that are allowed and not negative, ten at most; negative ones where there are no others."""
    low, high = math.ceil(max(demand.low, least, -(2.0**62))), math.floor(min(demand.high, most, 2.0**62))
    if low > high:  # asked for both this and that: no seeded value is right
        return InputRange(0, SMALL_INTEGERS)
    first = low if low > 0 else max(min(0, high), high - SMALL_INTEGERS + 1) if high < 0 else 0
    return InputRange(first, min(high, first + SMALL_INTEGERS - 1) + 1)
