"""Reshapes that an exporter wrote the batch's size into, made to follow it: for the old size they do what they did."""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tunefarm_coordinator.models.small_constants import Sizes, attribute_of, known_graph


def free_batch(model: onnx.ModelProto, forced: Collection[str]) -> None:
    """Changes `model`, whose inputs still have the sizes that its file fixes: its reshapes follow the first axis of the
    `forced` inputs."""
    known = known_graph(model)
    written = {tensor.name for tensor in model.graph.initializer}
    written |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    batches = {sizes[0] for name in forced if (sizes := known.sizes.get(name))}
    if len(batches) != 1 or None in batches:
        return
    (batch,) = batches
    for at, node in enumerate(model.graph.node):
        if node.op_type != "Reshape" or attribute_of(node, "allowzero", 0) or not written & set(node.input[1:]):
            # A shape that is computed follows already.
            continue
        shape, sizes = known.values.get(node.input[1]), known.sizes.get(node.input[0])
        if shape is None or not shape.size or not sizes:
            continue
        followed = _following(shape.reshape(-1), sizes, batch or 0)
        if followed is not None:
            name = f"{node.input[1]}/follows-batch/{at}"
            model.graph.initializer.append(numpy_helper.from_array(followed, name))
            node.input[1] = name


def _following(shape: NDArray[Any], sizes: Sizes, batch: int) -> NDArray[Any] | None:
    """The shape, with its first size taken from the operand (0), or from what is left (-1)."""
    first = int(shape[0])
    if first <= 0 or 0 in sizes:
        return None
    followed = np.array(shape, np.int64)
    if first == sizes[0] == batch:
        followed[0] = 0
    elif batch > 1 and first % batch == 0 and (shape > 0).all():
        # The batch was merged with another axis: attention's heads, say.
        followed[0] = -1
    else:
        return None
    return followed
