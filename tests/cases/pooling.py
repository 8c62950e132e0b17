"""Pooling: padding, rounding up, indices."""

import onnx
from onnx import TensorProto

from tests.cases.parts import case, conv_relu, model, node, value, weight


@case
def maxpool_same_symw() -> onnx.ModelProto:
    n, i = conv_relu()
    n.append(node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_UPPER"))
    return model(n, [value("x", ["N", 3, 48, "W"])], [value("y", ["N", 16, 48, "W"])], i, opset=13)


@case
def maxpool_same_lower_odd() -> onnx.ModelProto:
    n, i = conv_relu()
    n.append(node("MaxPool", ["c"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"))
    return model(n, [value("x", [1, 3, 15, 15])], [value("y", None)], i)


@case
def avgpool_ceil() -> onnx.ModelProto:
    n, i = conv_relu()
    n.append(node("AveragePool", ["c"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, pads=[0, 0, 1, 1]))
    return model(n, [value("x", [1, 3, 17, 17])], [value("y", None)], i)


@case
def maxpool_indices() -> onnx.ModelProto:
    n, i = conv_relu()
    n.append(node("MaxPool", ["c"], ["y", "idx"], kernel_shape=[2, 2], strides=[2, 2]))
    return model(n, [value("x", [1, 3, 16, 16])], [value("y", None), value("idx", None, TensorProto.INT64)], i)


@case
def lrn() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    return model(
        [*n, node("LRN", ["c"], ["y"], size=5, alpha=0.1, beta=0.75)],
        [value("x", [1, 3, 16, 16])],
        [value("y", None)],
        i,
        13,
    )


@case
def globalpool_conv() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=16)
    i += [weight("fw", (10, 16)), weight("fb", (10,), 0, 0.1)]
    return model(
        [
            *n,
            node("GlobalAveragePool", ["c"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("Gemm", ["f", "fw", "fb"], ["y"], transB=1),
        ],
        [value("x", [1, 3, 24, 24])],
        [value("y", None)],
        i,
        13,
    )


@case
def lppool() -> onnx.ModelProto:
    return model(
        [node("LpPool", ["x"], ["y"], kernel_shape=[3, 3], p=2, strides=[2, 2])],
        [value("x", [1, 4, 15, 15])],
        [value("y", None)],
        [],
        18,
    )
