"""Ends of detectors and classifiers: NonMaxSuppression, Loop, If, TopK, ArgMax."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.cases.parts import case, const, conv_relu, model, node, rng, value, weight


@case
def nms_head() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=8)
    i += [
        weight("bw", (4, 8, 1, 1)),
        weight("sw", (2, 8, 1, 1)),
        const("b_sh", [1, -1, 4], np.int64),
        const("s_sh", [1, 2, -1], np.int64),
        const("mo", [5], np.int64),
        const("iou", [0.5], np.float32),
        const("st", [0.4], np.float32),
    ]
    n += [
        node("Conv", ["c", "bw"], ["b4"]),
        node("Transpose", ["b4"], ["bt"], perm=[0, 2, 3, 1]),
        node("Reshape", ["bt", "b_sh"], ["boxes"]),
        node("Conv", ["c", "sw"], ["s4"]),
        node("Sigmoid", ["s4"], ["ss"]),
        node("Reshape", ["ss", "s_sh"], ["scores"]),
        node("NonMaxSuppression", ["boxes", "scores", "mo", "iou", "st"], ["y"], name="nms"),
    ]
    return model(n, [value("x", [1, 3, 8, 8])], [value("y", [None, 3], TensorProto.INT64)], i, 13)


@case
def loop_post() -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Add", ["acc_in", "one"], ["acc_out"]), node("Identity", ["cond_in"], ["cond_out"])],
        "body",
        [value("it", [], TensorProto.INT64), value("cond_in", [], TensorProto.BOOL), value("acc_in", [1, 8, 16, 16])],
        [value("cond_out", [], TensorProto.BOOL), value("acc_out", [1, 8, 16, 16])],
        [const("one", 1.0, np.float32)],
    )
    n, i = conv_relu(cin=3, cout=8)
    i += [const("trip", 3, np.int64), const("cond", True, np.bool_)]
    n += [node("Loop", ["trip", "cond", "c"], ["y"], body=body, name="loop")]
    return model(n, [value("x", [1, 3, 16, 16])], [value("y", None)], i, 13)


@case
def topk() -> onnx.ModelProto:
    return model(
        [node("TopK", ["x", "k"], ["v", "i"], axis=1)],
        [value("x", [3, 40])],
        [value("v", None), value("i", None, TensorProto.INT64)],
        [const("k", [5], np.int64)],
        13,
    )


@case
def topk_smallest_int() -> onnx.ModelProto:
    return model(
        [node("TopK", ["x", "k"], ["v", "i"], axis=-1, largest=0)],
        [value("x", [3, 40], TensorProto.INT64)],
        [value("v", None, TensorProto.INT64), value("i", None, TensorProto.INT64)],
        [const("k", [5], np.int64)],
        13,
    )


@case
def nonzero() -> onnx.ModelProto:
    return model(
        [node("NonZero", ["x"], ["y"])], [value("x", [3, 4])], [value("y", [2, None], TensorProto.INT64)], [], 13
    )


@case
def unique() -> onnx.ModelProto:
    return model(
        [node("Unique", ["x"], ["y"])],
        [value("x", [12], TensorProto.INT64)],
        [value("y", [None], TensorProto.INT64)],
        [],
        13,
    )


def _if(constant: bool) -> onnx.ModelProto:
    t = helper.make_graph([node("Relu", ["c"], ["t_o"])], "then", [], [value("t_o", [1, 8, 16, 16])])
    e = helper.make_graph([node("Neg", ["c"], ["e_o"])], "else", [], [value("e_o", [1, 8, 16, 16])])
    n, i = conv_relu(cin=3, cout=8)
    ins = [value("x", [1, 3, 16, 16])]
    if constant:
        i += [const("cond", True, np.bool_)]
    else:
        ins += [value("cond", [], TensorProto.BOOL)]
    return model(
        [*n, node("If", ["cond"], ["y"], then_branch=t, else_branch=e, name="if0")],
        ins,
        [value("y", [1, 8, 16, 16])],
        i,
        13,
    )


@case
def if_const() -> onnx.ModelProto:
    return _if(True)


@case
def if_from_shape() -> onnx.ModelProto:
    t = helper.make_graph([node("Relu", ["c"], ["t_o"])], "then", [], [value("t_o", None)])
    e = helper.make_graph([node("Squeeze", ["c", "sq"], ["e_o"])], "else", [], [value("e_o", None)])
    n, i = conv_relu(cin=3, cout=8)
    n += [
        node("Shape", ["x"], ["sh"]),
        node("Gather", ["sh", "i0"], ["b"]),
        node("Equal", ["b", "i1"], ["cond"]),
        node("If", ["cond"], ["y"], then_branch=e, else_branch=t, name="if0"),
    ]
    return model(
        n,
        [value("x", ["N", 3, 16, 16])],
        [value("y", None)],
        [*i, const("i0", 0, np.int64), const("i1", 1, np.int64), const("sq", [0], np.int64)],
        13,
    )


@case
def argmax_last_index() -> onnx.ModelProto:
    return model(
        [node("ArgMax", ["x"], ["y"], axis=1, select_last_index=1, keepdims=0)],
        [value("x", [4, 40])],
        [value("y", None, TensorProto.INT64)],
        [],
        13,
    )


@case
def big_reduce_argmax() -> onnx.ModelProto:
    """classifier that ends in ArgMax: near ties may flip."""
    n, i = conv_relu(cin=3, cout=16)
    return model(
        [*n, node("ArgMax", ["c"], ["y"], axis=1)],
        [value("x", [1, 3, 32, 32])],
        [value("y", None, TensorProto.INT64)],
        i,
        13,
    )


@case
def yolo_like() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=16)
    i += [
        weight("hw", (18, 16, 1, 1)),
        const("sh", [1, 3, 6, 8, 8], np.int64),
        const("sp", [2, 2, 2], np.int64),
        const("two", 2, np.float32),
        numpy_helper.from_array(rng(3).uniform(0, 8, (1, 3, 8, 8, 2)).astype(np.float32), "grid"),
        const("sh2", [1, -1, 6], np.int64),
    ]
    n += [
        node("MaxPool", ["c"], ["p"], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4),
        node("Concat", ["c", "p"], ["cc"], axis=1),
        node("Conv", ["cc", "hw2"], ["hd"]),
        node("Reshape", ["hd", "sh"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 1, 3, 4, 2]),
        node("Sigmoid", ["t"], ["s"]),
        node("Split", ["s", "sp"], ["xy", "wh", "cf"], axis=4),
        node("Mul", ["xy", "two"], ["xy2"]),
        node("Add", ["xy2", "grid"], ["xyg"]),
        node("Mul", ["wh", "wh"], ["wh2"]),
        node("Concat", ["xyg", "wh2", "cf"], ["o"], axis=4),
        node("Reshape", ["o", "sh2"], ["y"]),
    ]
    i = [x for x in i if x.name != "hw"] + [weight("hw2", (18, 32, 1, 1))]
    return model(n, [value("x", [1, 3, 8, 8])], [value("y", None)], i, 13)


@case
def topk_after_conv() -> onnx.ModelProto:
    n, i = conv_relu(cin=3, cout=16)
    i += [const("sh", [1, -1], np.int64), const("k", [10], np.int64)]
    return model(
        [*n, node("Reshape", ["c", "sh"], ["f"]), node("TopK", ["f", "k"], ["v", "idx"])],
        [value("x", [1, 3, 16, 16])],
        [value("v", None), value("idx", None, TensorProto.INT64)],
        i,
        13,
    )


@case
def topk_after_gemm() -> onnx.ModelProto:
    """Classifier with TopK, as many zoo models end."""
    return model(
        [node("MatMul", ["x", "w"], ["m"]), node("Softmax", ["m"], ["p"]), node("TopK", ["p", "k"], ["v", "idx"])],
        [value("x", [1, 512])],
        [value("v", [1, 5]), value("idx", [1, 5], TensorProto.INT64)],
        [weight("w", (512, 100)), const("k", [5], np.int64)],
        13,
    )
