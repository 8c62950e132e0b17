"""What the cases are built of, and the table that they enter."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Make = Callable[[], onnx.ModelProto]
CASES: dict[str, Make] = {}

node = helper.make_node


def case(make: Make) -> Make:
    """Enters a function that makes a model, by its name."""
    CASES[make.__name__] = make
    return make


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def weight(
    name: str, shape: Sequence[int], seed: int = 0, scale: float | None = None, dtype: Any = np.float32
) -> onnx.TensorProto:
    """Normal numbers that are the name's own; `scale` keeps sums near 1 where it is left out."""
    random = np.random.default_rng([seed, sum(map(ord, name))])
    if scale is None:
        scale = 1.0 / np.sqrt(max(1, np.prod(shape[1:]) if len(shape) > 1 else 1))
    return numpy_helper.from_array((random.standard_normal(shape) * scale).astype(dtype), name)


def const(name: str, content: Any, dtype: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(content, dtype=dtype), name)


def value(name: str, shape: Sequence[int | str | None] | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
    ir: int = 8,
    extra: Sequence[tuple[str, int]] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    name: str = "g",
) -> onnx.ModelProto:
    """`extra`: operator sets beside the standard's, with their versions; `ir`: the file format's version."""
    graph = helper.make_graph(list(nodes), name, list(inputs), list(outputs), list(weights))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, version) for domain, version in extra)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=ir)


def conv_relu(
    x: str = "x", y: str = "c", cin: int = 3, cout: int = 16, k: int = 3, seed: int = 0, **attributes: Any
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """(nodes, weights) of a convolution with ReLU from x to y, large enough to be a task."""
    attributes = {"pads": [k // 2] * 4, **attributes}
    nodes = [
        node("Conv", [x, f"{y}_w", f"{y}_b"], [f"{y}_pre"], name=f"{y}_conv", **attributes),
        node("Relu", [f"{y}_pre"], [y], name=f"{y}_relu"),
    ]
    return nodes, [weight(f"{y}_w", (cout, cin, k, k), seed), weight(f"{y}_b", (cout,), seed, 0.1)]


def single(
    operator: str,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node, which reads the inputs and then the weights."""
    names = [it.name for it in inputs] + [it.name for it in weights]
    nodes = [node(operator, names, [it.name for it in outputs], name=f"{operator.lower()}0", **attributes)]
    return model(nodes, inputs, outputs, weights, opset)


def integers(name: str, low: int, high: int, shape: Sequence[int], dtype: Any, seed: int) -> onnx.TensorProto:
    """Whole numbers from low to high, without high."""
    drawn: NDArray[Any] = np.random.default_rng(seed).integers(low, high, shape)
    return numpy_helper.from_array(drawn.astype(dtype), name)
