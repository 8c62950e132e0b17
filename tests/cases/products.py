"""Matrix products of all types and ranks."""

import numpy as np
import onnx
from onnx import TensorProto

from tests.cases.parts import case, const, model, node, value, weight


@case
def dense_fp16() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", [4, 2048], TensorProto.FLOAT16)],
        [value("y", [4, 768], TensorProto.FLOAT16)],
        [weight("w", (2048, 768), 0, 0.05, np.float16)],
        13,
    )


@case
def gemm_fp16_bias() -> onnx.ModelProto:
    return model(
        [node("Gemm", ["x", "w", "b"], ["y"], transB=1, alpha=0.5, beta=2.0)],
        [value("x", [4, 256], TensorProto.FLOAT16)],
        [value("y", [4, 128], TensorProto.FLOAT16)],
        [weight("w", (128, 256), 0, 0.05, np.float16), weight("b", (128,), 0, 0.1, np.float16)],
        13,
    )


@case
def dense_bf16() -> onnx.ModelProto:
    return model(
        [
            node("Cast", ["x"], ["xb"], to=TensorProto.BFLOAT16),
            node("Cast", ["w"], ["wb"], to=TensorProto.BFLOAT16),
            node("MatMul", ["xb", "wb"], ["m"]),
            node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
        ],
        [value("x", [4, 64])],
        [value("y", [4, 64])],
        [weight("w", (64, 64))],
        13,
    )


@case
def einsum() -> onnx.ModelProto:
    return model(
        [node("Einsum", ["x", "w"], ["y"], equation="bhid,bhjd->bhij")],
        [value("x", [1, 2, 16, 32]), value("w", [1, 2, 24, 32])],
        [value("y", None)],
        [],
        13,
    )


@case
def einsum_diag() -> onnx.ModelProto:
    return model(
        [node("Einsum", ["x"], ["y"], equation="...ii->...i")], [value("x", [2, 5, 5])], [value("y", None)], [], 13
    )


@case
def matmul_bcast_5d() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["a", "b"], ["y"])],
        [value("a", [2, 1, 3, 8, 32]), value("b", [4, 1, 32, 16])],
        [value("y", None)],
        [],
        13,
    )


@case
def matmul_1d() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["a", "b"], ["y"])], [value("a", [64]), value("b", [64, 128])], [value("y", None)], [], 13
    )


@case
def scalar_out_matmul() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["x", "w"], ["m"]), node("ReduceMean", ["m"], ["y"], keepdims=0)],
        [value("x", [16, 64])],
        [value("y", [])],
        [weight("w", (64, 64))],
        13,
    )


@case
def double_matmul() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", [16, 64], TensorProto.DOUBLE)],
        [value("y", None, TensorProto.DOUBLE)],
        [weight("w", (64, 64), dtype=np.float64)],
        13,
    )


@case
def log_of_input() -> onnx.ModelProto:
    """log/sqrt of an input that is positive in the user's world (audio power)."""
    i = [weight("w", (64, 64))]
    return model(
        [node("Log", ["x"], ["l"]), node("MatMul", ["l", "w"], ["y"])],
        [value("x", [16, 64])],
        [value("y", [16, 64])],
        i,
        13,
    )


@case
def pow_frac() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["x", "w"], ["m"]), node("Pow", ["m", "p"], ["y"])],
        [value("x", [16, 64])],
        [value("y", [16, 64])],
        [weight("w", (64, 64)), const("p", 2, np.int64)],
        15,
    )


@case
def exp_overflow_ref() -> onnx.ModelProto:
    """a large-range head: exp of 50 x"""
    return model(
        [node("MatMul", ["x", "w"], ["m"]), node("Exp", ["m"], ["y"])],
        [value("x", [16, 64])],
        [value("y", None)],
        [weight("w", (64, 64), 0, 20.0)],
        13,
    )


@case
def nan_in_reference() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["x", "w"], ["m"]), node("Sqrt", ["m"], ["y"])],
        [value("x", [16, 64])],
        [value("y", None)],
        [weight("w", (64, 64))],
        13,
    )


@case
def scalar_sr_input() -> onnx.ModelProto:
    """A rank-0 integer input beside the audio (as Silero VAD's sr)."""
    return model(
        [
            node("Cast", ["sr"], ["f"], to=TensorProto.FLOAT),
            node("MatMul", ["x", "w"], ["m"]),
            node("Div", ["m", "f"], ["y"]),
        ],
        [value("x", [16, 64]), value("sr", [], TensorProto.INT64)],
        [value("y", [16, 64])],
        [weight("w", (64, 64))],
        13,
    )


@case
def dense_fp16_k8192() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", [4, 8192], TensorProto.FLOAT16)],
        [value("y", [4, 256], TensorProto.FLOAT16)],
        [weight("w", (8192, 256), 0, 0.02, np.float16)],
        13,
    )


@case
def scatter_after_gemm() -> onnx.ModelProto:
    return model(
        [node("MatMul", ["x", "w"], ["m"]), node("ScatterND", ["m", "i", "u"], ["y"])],
        [value("x", [1, 512])],
        [value("y", [1, 100])],
        [weight("w", (512, 100)), const("i", [[0, 3], [0, 7]], np.int64), const("u", [1.0, 2.0], np.float32)],
        13,
    )
