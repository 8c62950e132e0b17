"""Small ONNX models for the tests of the model pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = list[int | str | None]


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Dims],
    outputs: list[str],
    weights: dict[str, Any] | None = None,
    opset: int = 13,
    input_type: int = TensorProto.FLOAT,
) -> Path:
    """A model with the given parts; output shapes are left to inference."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, input_type, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    domains = {node.domain for node in nodes if node.domain}
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def save_relu(path: Path, dims: Dims | None = None) -> Path:
    return save(path, [helper.make_node("Relu", ["x"], ["y"], "only")], {"x": dims or [1, 4]}, ["y"])


def random_weights(*shape: int, seed: int = 0) -> Any:
    fan_in = int(np.prod(shape[1:])) or 1
    values = np.random.default_rng(seed).standard_normal(shape) * np.sqrt(2.0 / fan_in)
    return values.astype(np.float32)


def save_conv_pair(path: Path, channels: int = 32, size: int = 10) -> Path:
    """Two convolutions with the same sizes and different activations: two kernels that can be swapped."""
    weights = {
        "w1": random_weights(channels, channels, 3, 3, seed=1),
        "w2": random_weights(channels, channels, 3, 3, seed=2),
        "b1": random_weights(channels, seed=3),
        "b2": random_weights(channels, seed=4),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["c2"], ["y"], "tanh"),
    ]
    return save(path, nodes, {"x": [1, channels, size, size]}, ["y"], weights)
