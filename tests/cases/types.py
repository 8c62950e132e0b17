"""Integers, booleans, rounding, bounds."""

import numpy as np
import onnx
from onnx import TensorProto

from tests.cases.parts import case, const, conv_relu, model, node, single, value, weight


@case
def cumsum_axis1() -> onnx.ModelProto:
    return single("CumSum", [value("x", [3, 40])], [value("y", None)], [const("ax", 1, np.int32)], 14)


@case
def cumsum_excl_rev() -> onnx.ModelProto:
    return single(
        "CumSum", [value("x", [3, 40])], [value("y", None)], [const("ax", -1, np.int64)], 14, exclusive=1, reverse=1
    )


@case
def cumsum_axis_input() -> onnx.ModelProto:
    return single("CumSum", [value("x", [3, 4]), value("ax", [], TensorProto.INT32)], [value("y", None)], [], 14)


@case
def cumsum_int64() -> onnx.ModelProto:
    return single(
        "CumSum",
        [value("x", [3, 40], TensorProto.INT64)],
        [value("y", None, TensorProto.INT64)],
        [const("ax", 1, np.int32)],
        14,
    )


@case
def mod_fmod_int() -> onnx.ModelProto:
    return model(
        [node("Mod", ["a", "b"], ["y"])],
        [value("a", [64], TensorProto.INT64), value("b", [64], TensorProto.INT64)],
        [value("y", [64], TensorProto.INT64)],
        [],
        13,
    )


@case
def div_int_negative() -> onnx.ModelProto:
    return model(
        [node("Div", ["a", "b"], ["y"])],
        [value("a", [64], TensorProto.INT64)],
        [value("y", [64], TensorProto.INT64)],
        [const("b", 3, np.int64)],
        13,
    )


@case
def div_int_var() -> onnx.ModelProto:
    return model(
        [node("Div", ["a", "b"], ["y"])],
        [value("a", [64], TensorProto.INT32), value("b", [64], TensorProto.INT32)],
        [value("y", [64], TensorProto.INT32)],
        [],
        13,
    )


@case
def round_half_even() -> onnx.ModelProto:
    return single("Round", [value("x", [64])], [value("y", [64])], [], 13)


@case
def cast_float_int() -> onnx.ModelProto:
    return model(
        [
            node("Cast", ["x"], ["y"], to=TensorProto.INT32),
            node("Cast", ["x"], ["z"], to=TensorProto.UINT8),
            node("Cast", ["x"], ["b"], to=TensorProto.BOOL),
        ],
        [value("x", [64])],
        [value("y", [64], TensorProto.INT32), value("z", [64], TensorProto.UINT8), value("b", [64], TensorProto.BOOL)],
        [],
        13,
    )


@case
def clip_int64_neg() -> onnx.ModelProto:
    return model(
        [node("Clip", ["x", "lo", "hi"], ["y"])],
        [value("x", [64], TensorProto.INT64)],
        [value("y", [64], TensorProto.INT64)],
        [const("lo", -3, np.int64), const("hi", 7, np.int64)],
        13,
    )


@case
def clip_inf() -> onnx.ModelProto:
    return model(
        [node("Clip", ["x", "lo", "hi"], ["y"])],
        [value("x", [64])],
        [value("y", [64])],
        [const("lo", 0, np.float32), const("hi", np.inf, np.float32)],
        13,
    )


@case
def clip_min_only() -> onnx.ModelProto:
    return model(
        [node("Clip", ["x", "lo"], ["y"])], [value("x", [64])], [value("y", [64])], [const("lo", -0.2, np.float32)], 13
    )


@case
def bool_uint8_int64_double() -> onnx.ModelProto:
    n = [
        node("Cast", ["b"], ["bf"], to=TensorProto.DOUBLE),
        node("Cast", ["u"], ["uf"], to=TensorProto.DOUBLE),
        node("Cast", ["i"], ["if_"], to=TensorProto.DOUBLE),
        node("Add", ["bf", "uf"], ["s1"]),
        node("Add", ["s1", "if_"], ["s2"]),
        node("Add", ["s2", "d"], ["s3"]),
        node("MatMul", ["s3", "w"], ["y"]),
        node("Not", ["b"], ["nb"]),
    ]
    return model(
        n,
        [
            value("b", [16, 64], TensorProto.BOOL),
            value("u", [16, 64], TensorProto.UINT8),
            value("i", [16, 64], TensorProto.INT64),
            value("d", [16, 64], TensorProto.DOUBLE),
        ],
        [value("y", None, TensorProto.DOUBLE), value("nb", None, TensorProto.BOOL)],
        [weight("w", (64, 64), dtype=np.float64)],
        13,
    )


@case
def uint8_image_norm() -> onnx.ModelProto:
    n, i = conv_relu("xn", "c", 3, 8)
    return model(
        [node("Cast", ["x"], ["xf"], to=TensorProto.FLOAT), node("Mul", ["xf", "sc"], ["xn"]), *n],
        [value("x", [1, 3, 16, 16], TensorProto.UINT8)],
        [value("c", [1, 8, 16, 16])],
        [*i, const("sc", 1 / 255, np.float32)],
        13,
    )


@case
def uint8_overflow_add() -> onnx.ModelProto:
    return model(
        [node("Add", ["a", "b"], ["y"])],
        [value("a", [64], TensorProto.UINT8), value("b", [64], TensorProto.UINT8)],
        [value("y", [64], TensorProto.UINT8)],
        [],
        14,
    )


@case
def int_div_reduce() -> onnx.ModelProto:
    return model(
        [node("Div", ["a", "b"], ["d"]), node("ReduceSum", ["d", "ax"], ["y"], keepdims=0)],
        [value("a", [64, 1024], TensorProto.INT32), value("b", [64, 1024], TensorProto.INT32)],
        [value("y", [64], TensorProto.INT32)],
        [const("ax", [1], np.int64)],
        13,
    )
