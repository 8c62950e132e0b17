"""How far two correct programs may be apart on a model: measured with ONNX Runtime at two levels, not guessed.

With and without its optimisations ONNX Runtime is two programs. Where they differ by more than rounding usually comes
to, the model is ill-conditioned (or was quantised, and values lie between two steps), and no third program can be held
to less.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tunefarm_coordinator.models.compare import Bound, bound_of, fault_of
from tunefarm_coordinator.models.matching import relative_error

# Of what two programs differ by on a few inputs, a third one may differ from them by several times as much.
SPREAD_FACTOR = 4.0
# What was quantised somewhere in the middle: a value between two steps there is worth more than rounding here.
_QUANTISED_WITHIN = 2e-2
_QUANTISERS = {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLSTM"}
# They hand on what they are given, in the same steps.
_MOVERS = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Concat", "MaxPool", "Relu"}


def bounds_of(
    model: onnx.ModelProto, plain: Sequence[Sequence[Any]], optimised: Sequence[Sequence[Any]]
) -> list[Bound]:
    """A bound for each output, from the outputs of both programs on the same sets of inputs (one list a set)."""
    bounds = []
    for position, output in enumerate(model.graph.output):
        pairs = [(one[position], other[position]) for one, other in zip(plain, optimised, strict=True)]
        bounds.append(_widened(_unmeasured(model.graph, output.name, pairs[0][1].dtype), pairs))
    return bounds


def note_of(model: onnx.ModelProto, bounds: Sequence[Bound]) -> str:
    """What a user should know of bounds that were widened by measuring; empty where none was."""
    wide = [
        f"{output.name} by {bound.relative:.2g}"
        for output, bound in zip(model.graph.output, bounds, strict=True)
        if bound.widened
    ]
    if not wide:
        return ""
    return (
        "ill-conditioned: ONNX Runtime differs from itself with and without its optimisations; "
        f"so outputs may differ from its own, relatively: {', '.join(wide)}"
    )


def _unmeasured(graph: onnx.GraphProto, output: str, dtype: Any) -> Bound:
    """What the graph alone says of an output."""
    producers = {name: node for node in graph.node for name in node.output}
    plain = bound_of(dtype.name)
    within = np.issubdtype(dtype, np.floating) and _any_before(producers, output)
    relative = max(plain.relative, _QUANTISED_WITHIN) if within else plain.relative
    return Bound(relative, plain.absolute, _step(graph, producers, output))


def _widened(bound: Bound, pairs: Sequence[tuple[Any, Any]]) -> Bound:
    """The bound, or more where the two programs need it."""
    spreads = [relative_error(one, other) for one, other in pairs if not bound.step or fault_of(one, other, bound)]
    measured = SPREAD_FACTOR * max((spread for spread in spreads if math.isfinite(spread)), default=0.0)
    return replace(bound, relative=measured, widened=True) if measured > bound.relative else bound


def _step(graph: onnx.GraphProto, producers: dict[str, onnx.NodeProto], name: str) -> float:
    node = producers.get(name)
    while node is not None and node.op_type in _MOVERS:
        name = node.input[0]
        node = producers.get(name)
    if node is None:
        return 0.0
    if node.op_type == "DequantizeLinear":
        values = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == node.input[1]]
        return float(np.abs(values[0].astype(np.float64)).max()) if values and values[0].size else 0.0
    return 1.0 if node.op_type in _QUANTISERS and node.output[0] == name else 0.0


def _any_before(producers: dict[str, onnx.NodeProto], name: str) -> bool:
    waiting, seen = [name], set()
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in _QUANTISERS:
            return True
        waiting.extend(node.input)
    return False
