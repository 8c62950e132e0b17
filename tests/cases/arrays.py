"""Operators that move, sort and scatter elements."""

import numpy as np
import onnx
from onnx import TensorProto

from tests.cases.parts import case, const, model, node, value


@case
def min_bcast() -> onnx.ModelProto:
    return model(
        [node("Relu", ["a"], ["r"]), node("Atan", ["b"], ["t"]), node("Min", ["r", "t"], ["y"])],
        [value("a", [30]), value("b", [1])],
        [value("y", [30])],
    )


@case
def max3_bcast() -> onnx.ModelProto:
    return model(
        [node("Max", ["a", "b", "c"], ["y"])],
        [value("a", [4, 30]), value("b", [1]), value("c", [4, 1])],
        [value("y", [4, 30])],
    )


@case
def mean3_bcast() -> onnx.ModelProto:
    return model(
        [node("Mean", ["a", "b", "c"], ["y"])],
        [value("a", [4, 30]), value("b", [30]), value("c", [4, 1])],
        [value("y", [4, 30])],
    )


@case
def pad_wrap_axes() -> onnx.ModelProto:
    return model(
        [node("Pad", ["x", "p", "", "ax"], ["y"], mode="wrap")],
        [value("x", [2, 5, 6])],
        [value("y", None)],
        [const("p", [2, 1, 1, 3], np.int64), const("ax", [1, 2], np.int64)],
        19,
    )


@case
def pad_reflect_axes() -> onnx.ModelProto:
    return model(
        [node("Pad", ["x", "p", "", "ax"], ["y"], mode="reflect")],
        [value("x", [2, 5, 6])],
        [value("y", None)],
        [const("p", [2, 1, 1, 3], np.int64), const("ax", [-2, -1], np.int64)],
        18,
    )


@case
def pad_negative() -> onnx.ModelProto:
    return model(
        [node("Pad", ["x", "p"], ["y"])],
        [value("x", [2, 5, 6])],
        [value("y", None)],
        [const("p", [0, -1, 0, 0, 1, -2], np.int64)],
        13,
    )


@case
def pad_edge_int() -> onnx.ModelProto:
    return model(
        [node("Pad", ["x", "p"], ["y"], mode="edge")],
        [value("x", [2, 5, 6], TensorProto.INT32)],
        [value("y", None, TensorProto.INT32)],
        [const("p", [0, 1, 0, 0, 1, 2], np.int64)],
        13,
    )


@case
def scatternd() -> onnx.ModelProto:
    return model(
        [node("ScatterND", ["x", "i", "u"], ["y"])],
        [value("x", [6, 4]), value("i", [2, 1], TensorProto.INT64), value("u", [2, 4])],
        [value("y", [6, 4])],
        [],
        16,
    )


@case
def scatternd_add() -> onnx.ModelProto:
    return model(
        [node("ScatterND", ["x", "i", "u"], ["y"], reduction="add")],
        [value("x", [6, 4]), value("i", [3, 1], TensorProto.INT64), value("u", [3, 4])],
        [value("y", [6, 4])],
        [],
        16,
    )


@case
def gathernd_batch() -> onnx.ModelProto:
    return model(
        [node("GatherND", ["x", "i"], ["y"], batch_dims=1)],
        [value("x", [2, 5, 4]), value("i", [2, 3, 1], TensorProto.INT64)],
        [value("y", [2, 3, 4])],
        [],
        13,
    )


@case
def gather_negative() -> onnx.ModelProto:
    return model(
        [node("Gather", ["x", "i"], ["y"], axis=1)],
        [value("x", [3, 10]), value("i", [4], TensorProto.INT64)],
        [value("y", [3, 4])],
        [],
        13,
    )


@case
def gatherelements_neg() -> onnx.ModelProto:
    return model(
        [node("GatherElements", ["x", "i"], ["y"], axis=1)],
        [value("x", [3, 10]), value("i", [3, 4], TensorProto.INT64)],
        [value("y", [3, 4])],
        [],
        13,
    )


@case
def trilu_upper_k() -> onnx.ModelProto:
    return model(
        [node("Trilu", ["x", "k"], ["y"], upper=1)],
        [value("x", [2, 6, 5])],
        [value("y", None)],
        [const("k", 1, np.int64)],
        14,
    )


@case
def reducel2_lse() -> onnx.ModelProto:
    return model(
        [node("ReduceL2", ["x"], ["a"], axes=[1]), node("ReduceLogSumExp", ["x"], ["y"], axes=[1])],
        [value("x", [16, 256])],
        [value("a", None), value("y", None)],
        [],
        13,
    )


@case
def slice_neg_step() -> onnx.ModelProto:
    return model(
        [node("Slice", ["x", "s", "e", "a", "st"], ["y"])],
        [value("x", [4, 20])],
        [value("y", None)],
        [
            const("s", [-1], np.int64),
            const("e", [-1000], np.int64),
            const("a", [1], np.int64),
            const("st", [-2], np.int64),
        ],
        13,
    )


@case
def split_uneven18() -> onnx.ModelProto:
    return model(
        [node("Split", ["x"], ["a", "b", "c"], axis=1, num_outputs=3)],
        [value("x", [2, 10])],
        [value("a", None), value("b", None), value("c", None)],
        [],
        18,
    )


@case
def onehot() -> onnx.ModelProto:
    return model(
        [node("OneHot", ["x", "d", "v"], ["y"])],
        [value("x", [6], TensorProto.INT64)],
        [value("y", None)],
        [const("d", 5, np.int64), const("v", [0, 1], np.float32)],
        13,
    )
