"""Slice in its older and shorter spellings, which TVM's importer does not read."""

from typing import Any

import numpy as np
import onnx
from tvm import relax

from tunefarm_coordinator.models.constants import static_shape
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Rewrite
from tunefarm_coordinator.models.operators.graph import Graph


def _with_axes(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """The axes that are left out, the first ones, spelled out."""
    starts = graph.constant(node.input[1]) if len(node.input) > 1 else None
    if starts is None or (len(node.input) > 3 and node.input[3]):
        return None
    new = onnx.NodeProto()
    new.CopyFrom(node)
    axes = graph.add_constant(np.arange(starts.size, dtype=np.int64), "axes")
    del new.input[:]
    new.input.extend([*node.input[:3], axes, *node.input[4:]])
    return [new]


def _by_attributes(operator: Operator) -> Any | None:
    """Before version 10 starts, ends and axes were attributes."""
    starts, sizes = operator.attributes.get("starts"), static_shape(operator.inputs[0])
    if starts is None or sizes is None:
        return None
    axes = [int(axis) % len(sizes) for axis in operator.attributes.get("axes", range(len(starts)))]
    ends = operator.attributes["ends"]
    bounds = [slice(start, end).indices(sizes[axis]) for start, end, axis in zip(starts, ends, axes, strict=True)]
    return relax.op.strided_slice(
        operator.inputs[0], axes, [low for low, _, _ in bounds], [high for _, high, _ in bounds]
    )


REWRITES: dict[Key, Rewrite] = {("", "Slice"): _with_axes}
CONVERSIONS: dict[Key, Conversion] = {("", "Slice"): _by_attributes}
