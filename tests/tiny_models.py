"""ONNX models small enough to tune in seconds, real enough to have convolutions, weights and a few kernels."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_tiny_cnn(path: Path, *, batch: int | str = 1, seed: int = 0) -> Path:
    """Convolution, batch norm, ReLU, pooling, dense, softmax on a (batch, 3, 16, 16) image; He-random weights."""
    random = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = int(np.prod(shape[1:])) or 1
        values = random.standard_normal(shape) * np.sqrt(2.0 / fan_in)
        return numpy_helper.from_array(values.astype(np.float32), name)

    def vector(name: str, size: int, low: float, high: float) -> onnx.TensorProto:
        return numpy_helper.from_array(random.uniform(low, high, size).astype(np.float32), name)

    weights = [
        weight("w1", 16, 3, 3, 3),
        vector("scale", 16, 0.5, 1.5),
        vector("bias", 16, -0.1, 0.1),
        vector("mean", 16, -0.1, 0.1),
        vector("var", 16, 0.5, 1.5),
        weight("w2", 32, 16, 1, 1),
        weight("w3", 10, 32),
        vector("b3", 10, -0.1, 0.1),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "scale", "bias", "mean", "var"], ["n1"], "norm1"),
        helper.make_node("Relu", ["n1"], ["r1"], "relu1"),
        helper.make_node("MaxPool", ["r1"], ["p1"], "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], "conv2"),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], "pool2"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], "dense", transB=1),
        helper.make_node("Softmax", ["logits"], ["classes"], "softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, [batch, 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def save_recogniser(path: Path, *, seed: int = 0) -> Path:
    """What reads a line of text: (1, 3, 16, width) `image` to (1, width / 4, 40) `text`, and, from the mean over the
    width, (1, 3) `script`. The kernels of `script` are the same at every width; He-random weights."""
    random = np.random.default_rng(seed)

    def weight(name: str, *shape: int, fan_in: int) -> onnx.TensorProto:
        values = random.standard_normal(shape) * np.sqrt(2.0 / fan_in)
        return numpy_helper.from_array(values.astype(np.float32), name)

    weights = [
        weight("w1", 16, 3, 3, 3, fan_in=27),
        weight("w2", 64, 16, 3, 3, fan_in=144),
        weight("w3", 64, 40, fan_in=64),
        weight("w4", 64, 256, fan_in=64),
        weight("w5", 256, 3, fan_in=256),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv2", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("ReduceMean", ["r2"], ["line"], "height", axes=[2], keepdims=0),
        helper.make_node("Transpose", ["line"], ["steps"], "steps", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["steps", "w3"], ["letters"], "letters"),
        helper.make_node("Softmax", ["letters"], ["text"], "text", axis=2),
        helper.make_node("GlobalAveragePool", ["r2"], ["mean"], "pool"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "w4"], ["hidden"], "hidden"),
        helper.make_node("Relu", ["hidden"], ["r3"], "relu3"),
        helper.make_node("MatMul", ["r3", "w5"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["script"], "script", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "recogniser",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, "width"])],
        [
            helper.make_tensor_value_info("text", TensorProto.FLOAT, [1, "steps", 40]),
            helper.make_tensor_value_info("script", TensorProto.FLOAT, [1, 3]),
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def save_convolutions(path: Path, count: int = 29, *, seed: int = 0) -> Path:
    """A chain of `count` convolutions on a (1, 20, 6, 6) image, each with one output channel more than the one
    before: as many kernels, no two alike, and nothing else. Every fourth is 3x3, the others 1x1; He-random weights."""
    random = np.random.default_rng(seed)
    nodes, weights = [], []
    # With fewer channels a kernel is so small that no trials are spent on it.
    first = 20
    for at in range(count):
        size = 3 if at % 4 == 0 else 1
        fan_in = (first + at) * size * size
        values = random.standard_normal((first + at + 1, first + at, size, size)) * np.sqrt(1.0 / fan_in)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{at}"))
        names = [f"x{at}", f"w{at}"], [f"x{at + 1}"]
        nodes.append(helper.make_node("Conv", *names, f"conv{at}", pads=[size // 2] * 4))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [value("x0", TensorProto.FLOAT, [1, first, 6, 6])],
        [value(f"x{count}", TensorProto.FLOAT, [1, first + count, 6, 6])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def save_unsupported(path: Path) -> Path:
    """A valid model with two operators that nobody imports."""
    nodes = [
        helper.make_node("Wobble", ["x"], ["y"], "first", domain="com.example"),
        helper.make_node("Relu", ["y"], ["z"], "middle"),
        helper.make_node("Jiggle", ["z"], ["out"], "second", domain="com.example"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "odd", [value("x", TensorProto.FLOAT, [1, 4])], [value("out", TensorProto.FLOAT, [1, 4])]
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path
