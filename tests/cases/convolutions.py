"""Convolutions, transposed ones, what follows them."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tests.cases.parts import case, conv_relu, model, node, rng, single, value, weight


@case
def conv_fp16() -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["c"], pads=[1] * 4), node("Relu", ["c"], ["y"])],
        [value("x", [1, 8, 16, 16], TensorProto.FLOAT16)],
        [value("y", None, TensorProto.FLOAT16)],
        [weight("w", (16, 8, 3, 3), 0, None, np.float16)],
        13,
    )


def _prelu(slope: tuple[int, ...]) -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    n += [node("PRelu", ["cx", "sl"], ["y"])]
    n[1] = node("Identity", ["c_pre"], ["cx"])
    return model(n, [value("x", [1, 3, 16, 16])], [value("y", None)], [*i, weight("sl", slope, 0, 0.3)], 16)


@case
def prelu_c11() -> onnx.ModelProto:
    return _prelu((8, 1, 1))


@case
def prelu_scalar1() -> onnx.ModelProto:
    return _prelu((1,))


@case
def prelu_w() -> onnx.ModelProto:
    return _prelu((16,))


@case
def prelu_full() -> onnx.ModelProto:
    return _prelu((1, 8, 16, 16))


@case
def prelu_1d() -> onnx.ModelProto:
    return single("PRelu", [value("x", [32])], [value("y", [32])], [weight("sl", (32,), 0, 0.3)], 16)


@case
def batchnorm_training() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    i += [
        weight("g", (8,), 1, 0.2),
        weight("bb", (8,), 2, 0.2),
        weight("mu", (8,), 3, 0.2),
        numpy_helper.from_array(rng(4).uniform(0.5, 1.5, 8).astype(np.float32), "va"),
    ]
    n += [node("BatchNormalization", ["c", "g", "bb", "mu", "va"], ["y", "rm", "rv"], training_mode=1, name="bn")]
    return model(n, [value("x", [2, 3, 16, 16])], [value("y", None), value("rm", [8]), value("rv", [8])], i, 15)


@case
def batchnorm_infer_1d() -> onnx.ModelProto:
    i = [
        weight("w", (8, 4, 3)),
        weight("g", (8,), 1, 0.2),
        weight("bb", (8,), 2, 0.2),
        weight("mu", (8,), 3, 0.2),
        numpy_helper.from_array(rng(4).uniform(0.5, 1.5, 8).astype(np.float32), "va"),
    ]
    return model(
        [node("Conv", ["x", "w"], ["c"]), node("BatchNormalization", ["c", "g", "bb", "mu", "va"], ["y"])],
        [value("x", [2, 4, 64])],
        [value("y", None)],
        i,
        15,
    )


def _convt(w: Any, opset: int = 13, shape: Any = (1, 8, 8, 8), **kw: Any) -> onnx.ModelProto:
    return model(
        [node("ConvTranspose", ["x", "w", "b"], ["y"], **kw)],
        [value("x", list(shape))],
        [value("y", None)],
        [weight("w", w), weight("b", (w[1] * kw.get("group", 1),), 0, 0.1)],
        opset,
    )


@case
def convt_outpad() -> onnx.ModelProto:
    return _convt((8, 6, 3, 3), strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])


@case
def convt_groups() -> onnx.ModelProto:
    return _convt((8, 3, 3, 3), strides=[2, 2], group=2)


@case
def convt_dilated_outshape() -> onnx.ModelProto:
    return _convt((8, 6, 3, 3), strides=[2, 2], dilations=[2, 2])


@case
def convt_output_shape() -> onnx.ModelProto:
    return _convt((8, 6, 3, 3), strides=[2, 2], output_shape=[16, 16], auto_pad="NOTSET")


@case
def convt_autopad() -> onnx.ModelProto:
    return _convt((8, 6, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")


@case
def convt_1d() -> onnx.ModelProto:
    return _convt((8, 6, 3), shape=(1, 8, 32), strides=[2], output_padding=[1])


@case
def dwconv_dilated() -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["y"], group=16, dilations=[2, 2], pads=[2] * 4)],
        [value("x", [1, 16, 24, 24])],
        [value("y", None)],
        [weight("w", (16, 1, 3, 3))],
        13,
    )


@case
def grouped_conv() -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["y"], group=4, pads=[1] * 4, strides=[2, 2])],
        [value("x", [1, 16, 24, 24])],
        [value("y", None)],
        [weight("w", (32, 4, 3, 3))],
        13,
    )


@case
def conv1d() -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["c"], pads=[2, 2], strides=[2]), node("Relu", ["c"], ["y"])],
        [value("x", [1, 8, 128])],
        [value("y", None)],
        [weight("w", (16, 8, 5))],
        13,
    )


@case
def conv3d() -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["c"], pads=[1] * 6), node("Relu", ["c"], ["y"])],
        [value("x", [1, 4, 6, 8, 8])],
        [value("y", None)],
        [weight("w", (8, 4, 3, 3, 3))],
        13,
    )


@case
def conv_asym_autopad() -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER", strides=[2, 2])],
        [value("x", [1, 8, 15, 17])],
        [value("y", None)],
        [weight("w", (16, 8, 4, 3))],
        13,
    )


@case
def conv_dyn_weight() -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["y"], pads=[1] * 4)],
        [value("x", [1, 8, 16, 16]), value("w", [16, 8, 3, 3])],
        [value("y", None)],
        [],
        13,
    )


@case
def groupnorm21() -> onnx.ModelProto:
    return model(
        [node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=4)],
        [value("x", [2, 16, 8, 8])],
        [value("y", None)],
        [weight("s", (16,), 1, 0.5), weight("b", (16,), 2, 0.5)],
        21,
    )


@case
def groupnorm18() -> onnx.ModelProto:
    return model(
        [node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=4)],
        [value("x", [2, 16, 8, 8])],
        [value("y", None)],
        [weight("s", (4,), 1, 0.5), weight("b", (4,), 2, 0.5)],
        18,
    )


@case
def instancenorm() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    return model(
        [*n, node("InstanceNormalization", ["c", "s", "b"], ["y"])],
        [value("x", [2, 3, 16, 16])],
        [value("y", None)],
        [*i, weight("s", (8,), 1, 0.5), weight("b", (8,), 2, 0.5)],
        13,
    )


@case
def hardswish_mish() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    return model(
        [*n, node("HardSwish", ["c_pre"], ["hs"]), node("Mish", ["hs"], ["y"])],
        [value("x", [1, 3, 16, 16])],
        [value("y", None)],
        i,
        18,
    )


@case
def depth2space_crd() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=16)
    return model(
        [*n, node("DepthToSpace", ["c"], ["y"], blocksize=2, mode="CRD")],
        [value("x", [1, 3, 16, 16])],
        [value("y", None)],
        i,
        13,
    )


@case
def space2depth() -> onnx.ModelProto:
    return model(
        [node("SpaceToDepth", ["x"], ["y"], blocksize=2)], [value("x", [1, 3, 8, 8])], [value("y", None)], [], 13
    )


@case
def convtranspose_bn_prelu() -> onnx.ModelProto:
    i = [weight("w", (8, 6, 2, 2)), weight("sl", (6, 1, 1), 0, 0.2)]
    return model(
        [node("ConvTranspose", ["x", "w"], ["c"], strides=[2, 2]), node("PRelu", ["c", "sl"], ["y"])],
        [value("x", [1, 8, 8, 8])],
        [value("y", None)],
        i,
        13,
    )


@case
def conv_opset22() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=16)
    return model(
        [*n, node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], strides=[2, 2])],
        [value("x", [1, 3, 16, 16])],
        [value("y", None)],
        i,
        22,
        ir=10,
    )


@case
def conv_opset26() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=16)
    return model(n, [value("x", [1, 3, 16, 16])], [value("c", None)], i, 26, ir=13)


@case
def conv_opset99() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=16)
    return model(n, [value("x", [1, 3, 16, 16])], [value("c", None)], i, 99, ir=13)


@case
def opset7_bn_gemm() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    i += [
        weight("g", (8,), 1, 0.2),
        weight("bb", (8,), 2, 0.2),
        weight("mu", (8,), 3, 0.2),
        numpy_helper.from_array(rng(4).uniform(0.5, 1.5, 8).astype(np.float32), "va"),
        weight("fw", (8 * 64, 10), 5),
        weight("fb", (10,), 5, 0.1),
    ]
    n += [
        node("BatchNormalization", ["c", "g", "bb", "mu", "va"], ["b"]),
        node("MaxPool", ["b"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fw", "fb"], ["z"]),
        node("Softmax", ["z"], ["y"]),
    ]
    return model(n, [value("x", [1, 3, 16, 16])], [value("y", [1, 10])], i, 7, ir=3)
