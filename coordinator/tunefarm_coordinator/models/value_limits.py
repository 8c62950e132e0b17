"""Operands that an operator takes only certain integers for: places, axes, lengths, counts, divisors.

One function for a kind of operand, and a table of who has it where.
"""

import math
from collections.abc import Callable

import onnx

from tunefarm_coordinator.models.small_constants import KnownGraph, attribute_of

# The least and the greatest value; None where nothing is known.
Bounds = tuple[float, float] | None
_Limit = Callable[[onnx.NodeProto, KnownGraph], Bounds]

# Sizes and repeats that an input decides: small ones do.
_SMALL = 4


def _size(known: KnownGraph, name: str, axis: int) -> int | None:
    sizes = known.sizes.get(name)
    return sizes[axis] if sizes is not None and -len(sizes) <= axis < len(sizes) else None


def _row(table: int, axis: int | None = None) -> _Limit:
    """A place along an axis (the node's own one, where None) of the operand `table`."""

    def limit(node: onnx.NodeProto, known: KnownGraph) -> Bounds:
        along = attribute_of(node, "axis", 0) if axis is None else axis
        rows = _size(known, node.input[table], along) if table < len(node.input) else None
        return (0, rows - 1) if rows else (0, math.inf)

    return limit


def _rows_nd(node: onnx.NodeProto, known: KnownGraph) -> Bounds:
    """Places along several axes at once: below the least of their sizes."""
    table, depth = known.sizes.get(node.input[0]), _size(known, node.input[1], -1)
    if table is None or depth is None:
        return 0, math.inf
    first = attribute_of(node, "batch_dims", 0)
    rows = [size for size in table[first : first + depth] if size]
    return (0, min(rows) - 1) if rows else (0, math.inf)


def _classes(node: onnx.NodeProto, known: KnownGraph) -> Bounds:
    depth = known.values.get(node.input[1])
    return None if depth is None or not depth.size else (0, float(depth.reshape(-1)[0]) - 1)


def _axis(node: onnx.NodeProto, known: KnownGraph) -> Bounds:
    sizes = known.sizes.get(node.input[0])
    return (0, max(len(sizes), 1) - 1) if sizes is not None else (0, 0)


def _up_to(operand: int, axis: int | None = None) -> _Limit:
    """From 1 to the size of an axis: how many, how long."""

    def limit(node: onnx.NodeProto, known: KnownGraph) -> Bounds:
        along = attribute_of(node, "axis", -1) if axis is None else axis
        size = _size(known, node.input[operand], along)
        return (1, size) if size else (1, 1)

    return limit


def _sequence_length(node: onnx.NodeProto, known: KnownGraph) -> Bounds:
    time = attribute_of(node, "time_axis", attribute_of(node, "layout", 0))
    size = _size(known, node.input[0], time)
    return (1, size) if size else (1, 1)


def _between(low: float, high: float) -> _Limit:
    return lambda _node, _known: (low, high)


_DIVISOR = _between(1, math.inf)
_COUNT = _between(1, _SMALL)
_REDUCTIONS = tuple(
    f"Reduce{kind}" for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
)
_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")

# By operator, by the operand's place.
LIMITS: dict[str, dict[int, _Limit]] = {
    "Gather": {1: _row(0)},
    "GatherElements": {1: _row(0)},
    "GatherND": {1: _rows_nd},
    "GatherBlockQuantized": {1: _row(0)},
    "Scatter": {1: _row(0)},
    "ScatterElements": {1: _row(0)},
    "TensorScatter": {2: _between(0, 0)},
    "ScatterND": {1: _rows_nd},
    "OneHot": {0: _classes, 1: _COUNT},
    "RoiAlign": {2: _row(0, 0)},
    "NegativeLogLikelihoodLoss": {1: _row(0, 1)},
    "SoftmaxCrossEntropyLoss": {1: _row(0, 1)},
    "EmbedLayerNormalization": {0: _row(2, 0), 1: _row(4, 0)},
    # ONNX's own has its tables first, com.microsoft's the places.
    "RotaryEmbedding": {1: _row(2, 0), 3: _row(1, 0)},
    **{name: {4: _sequence_length} for name in _RECURRENT},
    "Attention": {6: _up_to(1, -2)},
    "ReverseSequence": {1: _sequence_length},
    "TopK": {1: _up_to(0)},
    **{name: {1: _axis} for name in (*_REDUCTIONS, "CumSum", "CumProd", "Squeeze", "Unsqueeze")},
    "DFT": {2: _axis},
    "Pad": {3: _axis},
    "Slice": {3: _axis, 4: _COUNT},
    "Div": {1: _DIVISOR},
    "Mod": {1: _DIVISOR},
    "BitShift": {1: _between(0, 7)},
    "Tile": {1: _COUNT},
    "Expand": {1: _COUNT},
    "ConstantOfShape": {0: _COUNT},
    "Range": {2: _DIVISOR},
    "NonMaxSuppression": {2: _COUNT},
    "Loop": {0: _COUNT},
    # Not in training.
    "Dropout": {2: _between(0, 0)},
}

# Of these, the ones that are places in a table: what reaches them is an id and no mask, whatever else it reaches.
INDICES = frozenset(
    {
        *(("Gather", 1), ("GatherElements", 1), ("GatherND", 1), ("GatherBlockQuantized", 1), ("OneHot", 0)),
        ("Scatter", 1),
        *(("ScatterElements", 1), ("ScatterND", 1), ("EmbedLayerNormalization", 0), ("EmbedLayerNormalization", 1)),
        *(("RotaryEmbedding", 1), ("RotaryEmbedding", 3)),
    }
)
