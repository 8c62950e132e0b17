"""Quantised operators and graphs answer as ONNX Runtime's, with products of integers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import Arrays, model_of, ours, theirs
from tunefarm_coordinator.engines.autotvm.dots import dot_product
from tunefarm_coordinator.models.prepare import prepare

RNG = np.random.default_rng(0)
MICROSOFT = "com.microsoft"
U8, S8, I32, F32 = TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.FLOAT


def u8(*shape: int) -> Any:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def s8(*shape: int) -> Any:
    return RNG.integers(-128, 128, shape, dtype=np.int8)


def f32(*shape: int) -> Any:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def scales(count: int) -> Any:
    return RNG.uniform(0.01, 0.1, count).astype(np.float32)


class Case:
    """Nodes and their constants, of which one model is made: so many small cases are compiled once."""

    def __init__(self, inputs: Arrays) -> None:
        self.inputs = inputs
        self.nodes: list[onnx.NodeProto] = []
        self.weights: Arrays = {}
        self.outputs: dict[str, int] = {}

    def node(self, operator: str, inputs: Sequence[Any], dtype: int | None = None, **attributes: Any) -> str:
        """A node; `dtype` makes its value an output. Arrays among the inputs become initializers."""
        names = []
        for value in inputs:
            if not isinstance(value, str):
                self.weights[f"w{len(self.weights)}"] = value
                value = f"w{len(self.weights) - 1}"
            names.append(value)
        output = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        if dtype is not None:
            self.outputs[output] = dtype
        return output

    def check(self, folder: Path, *, steps: float = 0.0, relative: float = 1e-4, opset: int = 21) -> None:
        """Both answers are the same; integers of 8 bits may be off by one step in a share `steps` of their places."""
        model = model_of(self.nodes, self.inputs, self.outputs, self.weights, opset=opset)
        found, expected = ours(model, self.inputs, folder), theirs(model, self.inputs)
        assert [(a.dtype, a.shape) for a in found] == [(a.dtype, a.shape) for a in expected]
        for name, one, other in zip(self.outputs, found, expected, strict=True):
            if one.dtype.kind == "f":
                np.testing.assert_allclose(one, other, rtol=relative, atol=relative, err_msg=name)
                continue
            difference = np.abs(one.astype(np.int64) - other)
            assert difference.max(initial=0) <= (1 if steps else 0), name
            assert np.count_nonzero(difference) <= steps * one.size, name


def test_values_are_quantised_and_back(tmp_path: Path) -> None:
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 300.0, -300.0], np.float32)
    x = np.concatenate([np.tile(halves, (2, 1)), f32(2, 8) * 50]).reshape(1, 4, 8)
    case = Case({"x": x, "q": u8(1, 4, 8), "t": RNG.integers(-(2**20), 2**20, (4, 8), dtype=np.int32)})
    one = np.float32(1)
    case.node("QuantizeLinear", ["x", one], U8)
    case.node("QuantizeLinear", ["x", np.float32(0.5), np.int8(3)], S8)
    case.node("QuantizeLinear", ["x", np.float32(0.01), np.uint16(70)], TensorProto.UINT16)
    case.node("QuantizeLinear", ["x", np.float32(0.01), np.int16(-7)], TensorProto.INT16)
    case.node("QuantizeLinear", ["x", scales(4), u8(4)], U8, axis=1)
    case.node("QuantizeLinear", ["x", scales(8), s8(8)], S8, axis=-1)
    case.node("QuantizeLinear", ["x", scales(8).reshape(1, 4, 2), u8(1, 4, 2)], U8, axis=2, block_size=4)
    case.node("DequantizeLinear", ["q", np.float32(0.3)], F32)
    case.node("DequantizeLinear", ["q", scales(4), u8(4)], F32, axis=1)
    case.node("DequantizeLinear", ["q", scales(12).reshape(1, 4, 3), u8(1, 4, 3)], F32, axis=2, block_size=3)
    case.node("DequantizeLinear", ["t", np.float32(0.3)], F32)
    case.check(tmp_path)


def test_values_are_quantised_by_what_is_found_in_them(tmp_path: Path) -> None:
    case = Case({"x": f32(3, 5, 16) * 7 + 2, "v": f32(9)})
    for name in ("x", "v"):
        case.nodes.append(helper.make_node("DynamicQuantizeLinear", [name], [f"{name}q", f"{name}s", f"{name}z"]))
        case.outputs |= {f"{name}q": U8, f"{name}s": F32, f"{name}z": U8}
    case.check(tmp_path)


def test_integers_of_four_bits_are_kept_in_eight(tmp_path: Path) -> None:
    case = Case({"x": f32(4, 8) * 10})
    weights = RNG.integers(-8, 8, (8, 6)).astype(ml_dtypes.int4)
    zeros = np.array(7, ml_dtypes.uint4)
    floats = case.node("DequantizeLinear", [weights, scales(12).reshape(2, 6)], axis=0, block_size=4)
    case.node("MatMul", ["x", floats], F32)
    narrow = case.node("QuantizeLinear", ["x", np.float32(0.9), zeros])
    case.node("DequantizeLinear", [narrow, np.float32(0.9), zeros], F32)
    case.check(tmp_path)


def test_products_of_integers(tmp_path: Path) -> None:
    case = Case({"a": u8(3, 5, 20), "b": s8(3, 5, 20), "c": u8(3, 20, 6), "z": np.array(77, np.uint8), "d": u8(5, 18)})
    case.node("MatMulInteger", ["d", s8(18, 16), "z"], I32)
    case.node("MatMulInteger", ["d", u8(18, 131), "z", np.uint8(128)], I32)
    case.node("MatMulInteger", ["a", s8(20, 6)], I32)
    case.node("MatMulInteger", ["a", s8(20, 6), np.uint8(120)], I32)
    case.node("MatMulInteger", ["a", s8(20, 16), "z", s8(16)], I32)
    case.node("MatMulInteger", ["a", u8(20, 16), "z", np.uint8(128)], I32)
    case.node("MatMulInteger", ["a", u8(20, 16), "z", np.uint8(3)], I32)
    case.node("MatMulInteger", ["a", u8(20, 16)], I32)
    case.node("MatMulInteger", ["a", u8(20, 16), "z", u8(16)], I32)
    case.node("MatMulInteger", ["b", s8(20, 6), np.int8(-5), np.int8(9)], I32)
    case.node("MatMulInteger", ["a", "c", "z", np.uint8(3)], I32)
    for left, kind in (("a", u8), ("b", s8)):
        zero = kind()
        three = [left, np.float32(0.02), zero, kind(20, 7), np.float32(0.03), kind(), np.float32(0.4), zero]
        case.node("QLinearMatMul", three, U8 if left == "a" else S8)
    case.node("QLinearMatMul", ["a", np.float32(0.02), np.uint8(9), s8(20, 7), scales(7), np.zeros(7, np.int8),
                                np.float32(0.3), np.uint8(100)], U8)  # fmt: skip
    case.check(tmp_path, steps=0.02)


@pytest.mark.parametrize(("rank", "groups"), [(1, 1), (2, 1), (2, 2), (2, 8), (3, 1)])
def test_convolutions_of_integers(rank: int, groups: int, tmp_path: Path) -> None:
    size, window = (9,) * rank, (3,) * rank
    weights = (8, 8 // groups, *window)
    pads = [1, 2, 0][:rank] + [0, 1, 1][:rank]
    case = Case({"x": u8(1, 8, *size)} | ({"z": np.array(99, np.uint8)} if rank == 2 else {}))
    case.node("ConvInteger", ["x", s8(*weights)], I32, group=groups)
    case.node("ConvInteger", ["x", s8(*weights), np.uint8(120)], I32, group=groups, pads=pads, strides=[2] * rank)
    if rank == 2:
        same = ["x", u8(*weights), np.uint8(3), np.uint8(128)]
        case.node("ConvInteger", same, I32, group=groups, auto_pad="SAME_LOWER")
        case.node("ConvInteger", ["x", u8(*weights), "z", np.uint8(3)], I32, group=groups, pads=pads, dilations=[2] * 2)
    three = ["x", np.float32(0.02), np.uint8(131), s8(*weights), scales(8), np.zeros(8, np.int8)]
    bias = RNG.integers(-5000, 5000, 8, dtype=np.int32)
    case.node("QLinearConv", [*three, np.float32(0.7), np.uint8(120), bias], U8, group=groups, pads=pads)
    case.check(tmp_path, steps=0.02)


def test_dynamically_quantised_products_have_instructions(tmp_path: Path) -> None:
    """Zero points that come with the data widen nothing, padding or not, and odd numbers of columns are filled up."""
    case = Case({"x": f32(1, 16, 9, 9), "v": f32(20, 64)})
    for name in ("x", "v"):
        case.nodes.append(helper.make_node("DynamicQuantizeLinear", [name], [f"{name}q", f"{name}s", f"{name}z"]))
    case.node("ConvInteger", ["xq", u8(32, 16, 3, 3), "xz", np.uint8(128)], I32, pads=[1] * 4)
    case.node("MatMulInteger", ["vq", u8(64, 131), "vz", np.uint8(128)], I32)
    path = tmp_path / "case.onnx"
    onnx.save(model_of(case.nodes, case.inputs, case.outputs, case.weights), path)
    target = json.dumps({"kind": "llvm", "mcpu": "sapphirerapids", "num-cores": 2})
    prepared = prepare(path, {name: value.shape for name, value in case.inputs.items()}, target, tmp_path / "prepared")
    products = [task for task in prepared.tasks if "conv2d" in task.name or "matmul" in task.name]
    assert len(products) == 2
    for task in products:
        schedule = tvm.s_tir.Schedule(tvm.ir.load_json(task.module))
        assert dot_product(schedule, target) is not None, task.name
    case.check(tmp_path)


def quantised(case: Case, name: str, scale: float, zero: int) -> str:
    """A value through eight bits and back to float."""
    parameters = [np.float32(scale), np.uint8(zero)]
    return case.node("DequantizeLinear", [case.node("QuantizeLinear", [name, *parameters]), *parameters])


def test_graphs_quantised_by_pairs(tmp_path: Path) -> None:
    case = Case({"x": f32(1, 6, 12, 12) * 2})
    x = quantised(case, "x", 0.016, 128)
    weight = case.node("DequantizeLinear", [s8(16, 6, 3, 3), scales(16) / 20, np.zeros(16, np.int8)], axis=0)
    bias = case.node("DequantizeLinear", [RNG.integers(-900, 900, 16, dtype=np.int32), np.float32(0.001)])
    value = case.node("Conv", [x, weight, bias], pads=[1] * 4, strides=[2, 2])
    first = quantised(case, case.node("Relu", [value]), 0.02, 0)
    one = case.node("DequantizeLinear", [u8(16, 16, 1, 1), np.float32(0.003), np.uint8(125)])
    second = quantised(case, case.node("Conv", [first, one]), 0.03, 110)
    total = quantised(case, case.node("Relu", [case.node("Add", [first, second])]), 0.05, 0)
    flat = case.node("Flatten", [quantised(case, case.node("GlobalAveragePool", [total]), 0.04, 0)])
    classes = case.node("DequantizeLinear", [s8(10, 16), scales(10) / 10, np.zeros(10, np.int8)], axis=0)
    case.node("QuantizeLinear", [first, np.float32(0.02), np.uint8(0)], U8)
    case.node("QuantizeLinear", [total, np.float32(0.05), np.uint8(0)], U8)
    logits = case.node("Gemm", [flat, classes, f32(10)], transB=1)
    case.node("QuantizeLinear", [logits, np.float32(0.02), np.uint8(90)], U8)
    case.check(tmp_path, steps=0.2)


def test_products_of_graphs_quantised_by_pairs(tmp_path: Path) -> None:
    case = Case({"x": f32(2, 6, 24)})
    x = quantised(case, "x", 0.008, 128)
    weight = case.node("DequantizeLinear", [s8(16, 24), scales(16), np.zeros(16, np.int8)], axis=0)
    value = case.node("MatMul", [x, case.node("Transpose", [weight], perm=[1, 0])])
    heads = quantised(case, case.node("Add", [value, f32(16)]), 0.03, 120)
    turned = case.node("Transpose", [heads], perm=[0, 2, 1])
    case.node("MatMul", [heads, turned], F32)
    case.check(tmp_path, relative=0.05)


def test_onnx_runtimes_own_operators(tmp_path: Path) -> None:
    case = Case({"a": u8(1, 8, 6, 6), "b": u8(1, 8, 6, 6)})
    three = (("a", 0.02, 128), ("b", 0.03, 100), ("", 0.05, 90))
    a, b, c = ([name, np.float32(scale), np.uint8(zero)] for name, scale, zero in three)
    case.node("QLinearAdd", [*a, *b, *c[1:]], U8, domain=MICROSOFT)
    case.node("QLinearMul", [*a, *b, *c[1:]], U8, domain=MICROSOFT)
    case.node("QLinearSigmoid", [*a, np.float32(1 / 256), np.uint8(0)], U8, domain=MICROSOFT)
    case.node("QLinearLeakyRelu", [*a, *c[1:]], U8, domain=MICROSOFT, alpha=0.1)
    case.node("QLinearGlobalAveragePool", [*a, *c[1:]], U8, domain=MICROSOFT)
    case.node("QLinearAveragePool", [*a, *c[1:]], U8, domain=MICROSOFT, kernel_shape=[3, 3], pads=[1] * 4)
    case.node("QLinearConcat", [*c[1:], *a, *b], U8, domain=MICROSOFT, axis=1)
    case.node("QLinearSoftmax", [*a, np.float32(1 / 256), np.uint8(0)], U8, domain=MICROSOFT, axis=-1, opset=13)
    case.node("QLinearWhere", [RNG.random((1, 8, 6, 6)) < 0.5, *a, *b, *c[1:]], U8, domain=MICROSOFT)
    case.check(tmp_path, steps=0.02)


def test_onnx_runtimes_own_products(tmp_path: Path) -> None:
    case = Case({"a": u8(6, 16), "x": f32(6, 16)})
    bias = RNG.integers(-5000, 5000, 12, dtype=np.int32)
    a = ["a", np.float32(0.02), np.uint8(128)]
    case.node("QGemm", [*a, s8(12, 16), scales(12), np.zeros(12, np.int8), bias, np.float32(0.6), np.uint8(128)],
              U8, domain=MICROSOFT, transB=1)  # fmt: skip
    case.node("QGemm", [*a, s8(16, 12), np.float32(0.1), np.int8(0), bias], F32, domain=MICROSOFT)
    four = ["a", s8(16, 12), np.float32(0.02), np.float32(0.1), np.uint8(3), np.int8(0), f32(12)]
    case.node("MatMulIntegerToFloat", four, F32, domain=MICROSOFT)
    case.node("DynamicQuantizeMatMul", ["x", s8(16, 12), np.float32(0.1), np.int8(0), f32(12)], F32, domain=MICROSOFT)
    packed, zeros = u8(12, 1, 8), u8(12, 1)
    sizes = {"K": 16, "N": 12, "bits": 4, "block_size": 16, "domain": MICROSOFT}
    case.node("MatMulNBits", ["x", packed, scales(12)], F32, **sizes)
    case.node("MatMulNBits", ["x", packed, scales(12), zeros], F32, **sizes)
    case.check(tmp_path, steps=0.02, relative=1e-3)


def test_attention_with_weights_of_eight_bits(tmp_path: Path) -> None:
    mask = np.ones((2, 5), np.int32)
    mask[1, 3:] = 0
    case = Case({"x": u8(2, 5, 16), "mask": mask})
    inputs = ["x", s8(16, 48), f32(48), np.float32(0.01), np.float32(0.01), "mask", np.uint8(128), np.int8(0)]
    case.node("QAttention", inputs, F32, domain=MICROSOFT, num_heads=4)
    case.check(tmp_path, relative=1e-3)
