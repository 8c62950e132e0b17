"""How far two correct programs may be apart on a model: measured with ONNX Runtime, not guessed.

With and without its optimisations ONNX Runtime is two programs; on inputs that differ in their last digits one program
stands for two that round otherwise. Where those differ by more than rounding usually comes to, the model is
ill-conditioned (or was quantised, and values lie between two steps), and no other program can be held to less.
"""

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tunefarm_coordinator.models.compare import Bound, bound_of, fault_of
from tunefarm_coordinator.models.matching import difference

# Of what two programs differ by on a few inputs, a third one may differ from them by several times as much.
SPREAD_FACTOR = 4.0
# Of the last digit: what sums of some hundred terms differ by when they are made in another order.
_LAST_DIGITS = 8
# bfloat16 and floats of 8 bits have no digits that do not matter.
_SHAKEN = {"float64", "float32", "float16"}
# What was quantised somewhere in the middle: a value between two steps there is worth more than rounding here.
_QUANTISED_WITHIN = 2e-2
# What was rounded to these on the way has no more digits at the end. (ONNX Runtime leaves some of that rounding out on
# CPUs, with and without its optimisations.)
_NARROW = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}
# What they give comes in steps of one.
_TO_STEPS = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinear")
_QUANTISERS = (*_TO_STEPS, "DynamicQuantize", "MatMulIntegerToFloat", "QGemm", "QAttention")
# They hand on what they are given, in the same steps.
_MOVERS = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Concat", "MaxPool", "Relu"}


def shaken(inputs: Sequence[NDArray[Any]], kept: Container[int] = ()) -> list[NDArray[Any]]:
    """The inputs with floats changed in their last digits, each up or down, the same way in any process.

    `kept`: places of inputs that stay. A place in a table, or 1 for what is seen, may be a float; a little less of it
    is another one.
    """
    random = np.random.default_rng(0)
    return [
        _shaken(value, random) if value.dtype.name in _SHAKEN and place not in kept else value
        for place, value in enumerate(inputs)
    ]


def bounds_of(
    model: onnx.ModelProto, reference: Sequence[Sequence[Any]], others: Sequence[Sequence[Sequence[Any]]]
) -> list[Bound]:
    """A bound for each output.

    `reference`: ONNX Runtime's outputs, one list for each set of inputs; `others`: the same of each other program.
    """
    bounds = []
    for position, output in enumerate(model.graph.output):
        pairs = [
            (one[position], right[position]) for other in others for one, right in zip(other, reference, strict=True)
        ]
        bounds.append(_widened(bound_in(model.graph, output.name, reference[0][position].dtype), pairs))
    return bounds


def note_of(model: onnx.ModelProto, bounds: Sequence[Bound]) -> str:
    """What a user should know of bounds that were widened by measuring; empty where none was."""
    wide = [
        f"{output.name} by {bound.relative:.2g} of its greatest value"
        if bound.relative
        else f"{output.name} by {bound.absolute:.0f}"
        for output, bound in zip(model.graph.output, bounds, strict=True)
        if bound.widened
    ]
    if not wide:
        return ""
    return (
        "ill-conditioned: ONNX Runtime differs from itself without its optimisations, or where the inputs' last digits "
        f"differ; so outputs may differ from its own: {', '.join(wide)}"
    )


def bound_in(graph: onnx.GraphProto, output: str, dtype: Any) -> Bound:
    """What the graph alone says of a value in it."""
    producers = {name: node for node in graph.node for name in node.output}
    plain = bound_of(dtype.name)
    relative = plain.relative
    if np.issubdtype(dtype, np.floating):
        if _any_before(producers, output, lambda node: node.op_type.startswith(_QUANTISERS)):
            relative = max(relative, _QUANTISED_WITHIN)
        for narrow, element in _NARROW.items():
            if _any_before(producers, output, partial(_rounds_to, element)):
                relative = max(relative, bound_of(narrow).relative)
    return Bound(relative, plain.absolute, _step(graph, producers, output))


def _shaken(value: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    digits = _LAST_DIGITS * np.finfo(value.dtype).eps if value.dtype.itemsize > 2 else np.finfo(value.dtype).eps
    return np.asarray(value * (1.0 + digits * random.choice([-1.0, 1.0], value.shape))).astype(value.dtype)


def _widened(bound: Bound, pairs: Sequence[tuple[Any, Any]]) -> Bound:
    """The bound, or more where the programs need it: relatively, but for whole numbers, which are places and counts."""
    apart = [difference(one, other) for one, other in pairs if not bound.step or fault_of(one, other, bound)]
    finite = [(off, scale) for off, scale in apart if math.isfinite(off)]
    if pairs[0][1].dtype.kind in "iu":
        measured = SPREAD_FACTOR * max((off for off, _ in finite), default=0.0)
        return replace(bound, absolute=measured, widened=True) if measured > bound.absolute else bound
    measured = SPREAD_FACTOR * max((off / scale for off, scale in finite if scale > 0), default=0.0)
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
    return 1.0 if node.op_type.startswith(_TO_STEPS) and node.output[0] == name else 0.0


def _rounds_to(element: int, node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and any(it.name == "to" and it.i == element for it in node.attribute)


def _any_before(producers: dict[str, onnx.NodeProto], name: str, is_one: Callable[[onnx.NodeProto], bool]) -> bool:
    waiting, seen = [name], set()
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if is_one(node):
            return True
        waiting.extend(node.input)
    return False
