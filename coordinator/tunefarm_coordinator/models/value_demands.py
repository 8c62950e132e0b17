"""What a graph asks of its tensors' values: found backwards, from the operators that would refuse or misread some.

A demand goes from a node's output to its inputs where the node passes values on, or changes them in a way that can
be undone (a sum with a constant, a product with one). Each rule below is for one kind of operator.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from tunefarm_coordinator.models.small_constants import KnownGraph, attribute_of, bodies
from tunefarm_coordinator.models.value_limits import INDICES, LIMITS

# Hidden places of an attention get a number like this one added, or more.
_HIDING = 100.0


class Use(Flag):
    """How a tensor's values are used, as far as that says what they are."""

    NONE = 0
    INDEX = auto()  # a place in a table
    TRUTH = auto()  # true or false: a condition, a comparison with 0 or 1
    HUGE = auto()  # multiplied by a number that is there to hide
    HIDING = auto()  # 1 where something is seen, 0 where it is hidden
    FACTOR = auto()  # multiplied with computed values


@dataclass(frozen=True)
class Demand:
    """Values from `low` to `high`, both included."""

    low: float = -math.inf
    high: float = math.inf
    use: Use = Use.NONE

    def __and__(self, other: "Demand") -> "Demand":
        return Demand(max(self.low, other.low), min(self.high, other.high), self.use | other.use)


ANYTHING = Demand()


@dataclass
class _Walk:
    known: KnownGraph
    demands: dict[str, Demand] = field(default_factory=dict)

    def of(self, name: str) -> Demand:
        return self.demands.get(name, ANYTHING)

    def ask(self, name: str, demand: Demand) -> None:
        if name and name not in self.known.values:
            self.demands[name] = self.of(name) & demand

    def value(self, node: onnx.NodeProto, position: int) -> NDArray[Any] | None:
        """The constant that is the node's operand there; None if there is none, or it is no constant."""
        return self.known.values.get(node.input[position]) if position < len(node.input) else None


def demands(known: KnownGraph) -> dict[str, Demand]:
    """By tensor, what is asked of its values; a tensor of which nothing is asked is left out."""
    walk = _Walk(known)
    _visit(walk, known.graph)
    return walk.demands


def _visit(walk: _Walk, graph: onnx.GraphProto) -> None:
    for node in reversed(graph.node):
        for body in bodies(node):
            if node.op_type == "If":
                for inner, outer in zip(body.output, node.output, strict=False):
                    walk.ask(inner.name, walk.of(outer))
            _visit(walk, body)
        for position, limit in LIMITS.get(node.op_type, {}).items():
            if position < len(node.input) and (bounds := limit(node, walk.known)) is not None:
                use = Use.INDEX if (node.op_type, position) in INDICES else Use.NONE
                walk.ask(node.input[position], Demand(*bounds, use))
        rule = _RULES.get(node.op_type)
        if rule is not None and node.output:
            rule(walk, node, walk.of(node.output[0]))


_Rule = Callable[[_Walk, onnx.NodeProto, Demand], None]


def _passed(*positions: int) -> _Rule:
    """Values of the operands at these places (all, where none is named) come out as they went in."""

    def rule(walk: _Walk, node: onnx.NodeProto, _: Demand) -> None:
        names = [node.input[p] for p in positions if p < len(node.input)] if positions else list(node.input)
        for output in node.output:
            for name in names:
                walk.ask(name, walk.of(output))

    return rule


def _cast(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    if attribute_of(node, "to") == onnx.TensorProto.BOOL:
        out = replace(out, use=out.use | Use.TRUTH)
    walk.ask(node.input[0], out)


def _truth(*positions: int) -> _Rule:
    def rule(walk: _Walk, node: onnx.NodeProto, _: Demand) -> None:
        for position in positions:
            if position < len(node.input):
                walk.ask(node.input[position], Demand(use=Use.TRUTH))

    return rule


def _compared(walk: _Walk, node: onnx.NodeProto, _: Demand) -> None:
    for position in (0, 1):
        other = walk.value(node, 1 - position)
        if other is None or other.size == 0 or other.dtype.kind not in "iuf":
            continue
        low, high = float(other.min()), float(other.max())
        if low == high and 0 <= low <= 1:
            walk.ask(node.input[position], Demand(use=Use.TRUTH))
        elif low != high and other.dtype.kind in "iu":
            # Compared with places: a length, or a place itself.
            walk.ask(node.input[position], Demand(max(low, 1), max(high, 1)))


def _where(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    condition, *branches = node.input
    walk.ask(condition, Demand(use=Use.TRUTH))
    for branch, other in zip(branches, reversed(branches), strict=True):
        producer = walk.known.producers.get(branch)
        # "x where x is in range, else x + n": the other branch says what x is.
        if producer is None or other not in producer.input:
            walk.ask(branch, out)


def _sum(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    _affine(walk, node, out, lambda low, high, constant: (low - constant, high - constant))


def _difference(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    left, right = walk.value(node, 0), walk.value(node, 1)
    if Use.HUGE in out.use:
        out = replace(out, use=out.use ^ Use.HUGE | Use.HIDING)
    if right is not None and right.size:
        low, high = float(right.min()), float(right.max())
        walk.ask(node.input[0], Demand(out.low + high, out.high + low, out.use))
    elif left is not None and left.size:
        low, high = float(left.min()), float(left.max())
        walk.ask(node.input[1], Demand(high - out.high, low - out.low, out.use))


def _product(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    constants = [walk.value(node, position) for position in (0, 1)]
    if all(constant is None for constant in constants):
        for name in node.input:
            walk.ask(name, Demand(use=Use.FACTOR))
        return
    for position, constant in enumerate(constants):
        if constant is None or constant.size == 0:
            continue
        factor = float(np.abs(constant).max())
        use = out.use | Use.HUGE if factor >= _HIDING else out.use
        if constant.min() > 0:
            low, high = float(constant.max()), factor
            walk.ask(node.input[1 - position], Demand(_over(out.low, low), _over(out.high, high), use))
        else:
            walk.ask(node.input[1 - position], Demand(use=use))


def _quotient(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    divisor = walk.value(node, 1)
    if divisor is not None and divisor.size and divisor.min() > 0:
        factor = float(divisor.min())
        walk.ask(node.input[0], Demand(out.low * factor, out.high * factor, out.use))


def _remainder(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    divisor = walk.value(node, 1)
    if divisor is not None and divisor.size and out.low <= 0 and divisor.max() - 1 <= out.high:
        out = Demand(use=out.use)
    walk.ask(node.input[0], out)


def _clipped(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    low, high = walk.value(node, 1), walk.value(node, 2)
    least = attribute_of(node, "min") if low is None or not low.size else float(low.max())
    most = attribute_of(node, "max") if high is None or not high.size else float(high.min())
    walk.ask(node.input[0], _unless_held(out, least, most))


def _extreme(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    constants = [v for p in range(len(node.input)) if (v := walk.value(node, p)) is not None and v.size]
    least = max((float(v.min()) for v in constants), default=None) if node.op_type == "Max" else None
    most = min((float(v.max()) for v in constants), default=None) if node.op_type == "Min" else None
    for name in node.input:
        walk.ask(name, _unless_held(out, least, most))


def _unless_held(out: Demand, least: float | None, most: float | None) -> Demand:
    """The demand, without the bounds that the operator itself sees to."""
    low = -math.inf if least is not None and least >= out.low else out.low
    high = math.inf if most is not None and most <= out.high else out.high
    return Demand(low, high, out.use)


def _total(walk: _Walk, node: onnx.NodeProto, out: Demand) -> None:
    """Sums of as many terms as there are at most: each has its share."""
    sizes = walk.known.sizes.get(node.input[0])
    terms = math.prod(size or 1 for size in sizes) if sizes else 1
    if node.op_type == "CumSum" and sizes and (axis := walk.value(node, 1)) is not None:
        terms = sizes[int(axis.reshape(-1)[0])] or 1
    walk.ask(node.input[0], Demand(out.low / max(terms, 1), out.high / max(terms, 1)))


def _affine(
    walk: _Walk, node: onnx.NodeProto, out: Demand, undone: Callable[[float, float, float], tuple[float, float]]
) -> None:
    if Use.HUGE in out.use:
        out = replace(out, use=out.use ^ Use.HUGE | Use.HIDING)
    constants = [walk.value(node, position) for position in range(len(node.input))]
    if all(constant is None for constant in constants):
        shared = Demand(min(out.low, 0.0) if math.isinf(out.low) else out.low / 2, out.high / 2, out.use)
        for name in node.input:
            walk.ask(name, shared)
        return
    for position, constant in enumerate(constants[:2]):
        if constant is None or constant.size == 0 or constant.dtype.kind not in "iuf":
            continue
        low = undone(out.low, out.high, float(constant.min()))[0]
        high = undone(out.low, out.high, float(constant.max()))[1]
        walk.ask(node.input[1 - position], Demand(low, high, out.use))


def _over(bound: float, factor: float) -> float:
    return bound if math.isinf(bound) else bound / factor


def _named(names: Iterable[str], rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(names, rule)


_RULES: dict[str, _Rule] = {
    **_named(
        (
            *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "GatherElements"),
            *("GatherND", "Expand", "Tile", "Transpose", "Split", "Dropout", "DepthToSpace", "SpaceToDepth", "Pad"),
            *("ReduceMax", "ReduceMin", "Floor", "Ceil", "Round", "Compress", "Trilu", "TopK", "CastLike"),
            *("ReverseSequence", "Relu"),
        ),
        _passed(0),
    ),
    "Concat": _passed(),
    "ScatterElements": _passed(0, 2),
    "ScatterND": _passed(0, 2),
    "Cast": _cast,
    "Where": _where,
    **_named(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"), _compared),
    **_named(("And", "Or", "Xor"), _truth(0, 1)),
    "Not": _truth(0),
    "If": _truth(0),
    "Add": _sum,
    "Sub": _difference,
    "Mul": _product,
    "Div": _quotient,
    "Mod": _remainder,
    "Clip": _clipped,
    **_named(("Min", "Max"), _extreme),
    **_named(("CumSum", "ReduceSum"), _total),
    # Operators of com.microsoft; 1 where a token is seen.
    "Attention": _truth(3),
    "QAttention": _truth(5),
    "EmbedLayerNormalization": _truth(7),
    "MultiHeadAttention": _truth(4),
}
