"""Softmax and its kin, whose axis means another thing before version 13."""

import onnx

from tests.cases.parts import case, conv_relu, model, node, single, value


@case
def softmax11_noaxis() -> onnx.ModelProto:
    return single("Softmax", [value("x", [2, 3, 4])], [value("y", [2, 3, 4])], opset=11)


@case
def softmax11_conv() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    n.append(node("Softmax", ["c"], ["y"], name="sm"))
    return model(n, [value("x", [2, 3, 16, 16])], [value("y", [2, 8, 16, 16])], i, opset=11)


@case
def softmax11_dynamic() -> onnx.ModelProto:
    return single("Softmax", [value("x", ["b", "s", 4])], [value("y", ["b", "s", 4])], opset=11)


@case
def logsoftmax11_axis0() -> onnx.ModelProto:
    return single("LogSoftmax", [value("x", [2, 3, 4])], [value("y", [2, 3, 4])], opset=11, axis=0)


@case
def softmax13_axis1_rank4() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    n.append(node("Softmax", ["c"], ["y"], axis=1))
    return model(n, [value("x", [2, 3, 16, 16])], [value("y", [2, 8, 16, 16])], i, opset=13)


@case
def hardmax11() -> onnx.ModelProto:
    return single("Hardmax", [value("x", [2, 3, 4])], [value("y", [2, 3, 4])], opset=11)
