"""Quantised graphs: QDQ, QLinear, integer products."""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tests.cases.parts import case, const, model, node, rng, value, weight


@case
def qlinearconv_net() -> onnx.ModelProto:
    r = rng(1)
    i = [
        const("xs", 0.02, np.float32),
        const("xz", 128, np.uint8),
        numpy_helper.from_array(r.integers(-100, 100, (8, 3, 3, 3)).astype(np.int8), "w"),
        const("ws", 0.01, np.float32),
        const("wz", 0, np.int8),
        const("ys", 0.05, np.float32),
        const("yz", 120, np.uint8),
        numpy_helper.from_array(r.integers(-500, 500, (8,)).astype(np.int32), "b"),
    ]
    n = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        node("QLinearConv", ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["qy"], pads=[1] * 4),
        node("DequantizeLinear", ["qy", "ys", "yz"], ["y"]),
    ]
    return model(n, [value("x", [1, 3, 16, 16])], [value("y", None)], i, 13)


@case
def qdq_conv_net() -> onnx.ModelProto:
    r = rng(1)
    i = [
        const("xs", 0.02, np.float32),
        const("xz", 128, np.uint8),
        numpy_helper.from_array(r.integers(-100, 100, (8, 3, 3, 3)).astype(np.int8), "w"),
        numpy_helper.from_array(r.uniform(0.005, 0.02, 8).astype(np.float32), "ws"),
        numpy_helper.from_array(np.zeros(8, np.int8), "wz"),
        const("ys", 0.05, np.float32),
        const("yz", 120, np.uint8),
        weight("b", (8,), 1, 0.1),
    ]
    n = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        node("DequantizeLinear", ["q", "xs", "xz"], ["dx"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        node("Conv", ["dx", "dw", "b"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("QuantizeLinear", ["r", "ys", "yz"], ["qy"]),
        node("DequantizeLinear", ["qy", "ys", "yz"], ["y"]),
    ]
    return model(n, [value("x", [1, 3, 16, 16])], [value("y", None)], i, 13)


@case
def dynquant_matmulinteger() -> onnx.ModelProto:
    r = rng(2)
    i = [
        numpy_helper.from_array(r.integers(-100, 100, (64, 64)).astype(np.int8), "w"),
        const("ws", 0.01, np.float32),
        const("wz", 3, np.int8),
    ]
    n = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z", "wz"], ["m"]),
        node("Cast", ["m"], ["mf"], to=TensorProto.FLOAT),
        node("Mul", ["s", "ws"], ["ss"]),
        node("Mul", ["mf", "ss"], ["y"]),
    ]
    return model(n, [value("x", [8, 64])], [value("y", [8, 64])], i, 13)


@case
def matmulinteger_int8_input() -> onnx.ModelProto:
    r = rng(2)
    return model(
        [node("MatMulInteger", ["a", "w"], ["y"])],
        [value("a", [16, 64], TensorProto.INT8)],
        [value("y", None, TensorProto.INT32)],
        [numpy_helper.from_array(r.integers(-128, 128, (64, 64)).astype(np.int8), "w")],
        13,
    )


@case
def convinteger() -> onnx.ModelProto:
    r = rng(2)
    return model(
        [node("ConvInteger", ["x", "w"], ["y"], pads=[1] * 4)],
        [value("x", [1, 3, 8, 8], TensorProto.UINT8)],
        [value("y", None, TensorProto.INT32)],
        [numpy_helper.from_array(r.integers(0, 255, (4, 3, 3, 3)).astype(np.uint8), "w")],
        13,
    )


@case
def quantize_saturate() -> onnx.ModelProto:
    i = [const("s", 0.5, np.float32), const("z", 10, np.uint8)]
    return model(
        [node("QuantizeLinear", ["x", "s", "z"], ["y"])],
        [value("x", [4, 65])],
        [value("y", None, TensorProto.UINT8)],
        i,
        13,
    )


@case
def qdq_two_convs() -> onnx.ModelProto:
    r = rng(5)
    i = [
        const("xs", 1 / 127, np.float32),
        const("xz", 0, np.int8),
        const("ys", 0.02, np.float32),
        const("zz", 0, np.int8),
    ]
    n, src, cin = (
        [node("QuantizeLinear", ["x", "xs", "xz"], ["q0"]), node("DequantizeLinear", ["q0", "xs", "xz"], ["d0"])],
        "d0",
        3,
    )
    for layer in range(2):
        i += [
            numpy_helper.from_array(r.integers(-127, 128, (16, cin, 3, 3)).astype(np.int8), f"w{layer}"),
            numpy_helper.from_array(r.uniform(0.002, 0.006, 16).astype(np.float32), f"ws{layer}"),
            numpy_helper.from_array(np.zeros(16, np.int8), f"wz{layer}"),
            weight(f"b{layer}", (16,), layer, 0.1),
        ]
        n += [
            node("DequantizeLinear", [f"w{layer}", f"ws{layer}", f"wz{layer}"], [f"dw{layer}"], axis=0),
            node("Conv", [src, f"dw{layer}", f"b{layer}"], [f"c{layer}"], pads=[1] * 4),
            node("Relu", [f"c{layer}"], [f"r{layer}"]),
            node("QuantizeLinear", [f"r{layer}", "ys", "zz"], [f"q{layer + 1}"]),
            node("DequantizeLinear", [f"q{layer + 1}", "ys", "zz"], [f"d{layer + 1}"]),
        ]
        src, cin = f"d{layer + 1}", 16
    i += [weight("fw", (16, 10), 9)]
    n += [node("GlobalAveragePool", ["d2"], ["g"]), node("Flatten", ["g"], ["f"]), node("MatMul", ["f", "fw"], ["y"])]
    return model(n, [value("x", [1, 3, 32, 32])], [value("y", None)], i, 13)
