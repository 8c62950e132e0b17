"""Hard-swish, as an operator and written out, without a division: one of a vector costs as much as all the rest."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tvm import relax

from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Rewrite
from tunefarm_coordinator.models.operators.graph import Graph

_EXACT_ENOUGH = (TensorProto.FLOAT, TensorProto.DOUBLE)


def _hard_swish(operator: Operator) -> Any:
    """x * clip(x / 6 + 1/2, 0, 1). Narrow floats divide as the standard says: their sixth is not exact enough."""
    x = operator.inputs[0]
    dtype = str(x.ty.dtype)
    if dtype in ("float32", "float64"):
        gate = relax.op.add(relax.op.multiply(x, relax.const(1 / 6, dtype)), relax.const(0.5, dtype))
        return relax.op.multiply(x, relax.op.clip(operator.emit(gate), 0, 1))
    gate = relax.op.clip(operator.emit(relax.op.add(x, relax.const(3, dtype))), 0, 6)
    return relax.op.multiply(x, relax.op.divide(gate, relax.const(6, dtype)))


def _division(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """A gate, clip(x + 3, 0, 6), or its product with x, divided by a constant: multiplied by what that is one over.

    No other division is: what counts (places, steps) may stand just below a whole number then.
    """
    divisor = graph.constant(node.input[1])
    if divisor is None or divisor.size != 1 or graph.dtype(node.input[0]) not in _EXACT_ENOUGH:
        return None
    with np.errstate(divide="ignore"):
        reciprocal = np.reciprocal(divisor)
    if not np.isfinite(reciprocal).all() or not _is_gated(node.input[0], graph):
        return None
    factor = graph.add_constant(reciprocal, f"{node.input[1]}_reciprocal")
    return [helper.make_node("Mul", [node.input[0], factor], node.output)]


def _is_gated(name: str, graph: Graph) -> bool:
    product = graph.producer(name)
    if product is not None and product.op_type == "Mul":
        return any(_is_gate(factor, graph) for factor in product.input)
    return _is_gate(name, graph)


def _is_gate(name: str, graph: Graph) -> bool:
    clip = graph.producer(name)
    shifted = graph.producer(clip.input[0]) if clip is not None and clip.op_type == "Clip" else None
    return shifted is not None and shifted.op_type == "Add" and any(map(graph.is_constant, shifted.input))


CONVERSIONS: dict[Key, Conversion] = {("", "HardSwish"): _hard_swish}
REWRITES: dict[Key, Rewrite] = {("", "Div"): _division}
