"""What the kernels of `make bench-kernels` are made of: a row is a small ONNX model and what it must do at least.

Weights are seeded. Sizes are without the batch, which is one, unless a builder says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18


@dataclass(frozen=True)
class Row:
    """One kernel.

    Attributes:
        name: in tables.
        model: one node, or a node with its usual epilogue; inputs and outputs float32, or int64 where `integers`.
        flops: what it has to compute: a multiply-add is two. 0 where it only moves bytes.
        image: its input is an image. In a network it finds it in the layout that the program likes best, so what lays
            it out is not the kernel's.
        integers: limits of inputs that are indices, by name.
    """

    name: str
    model: onnx.ModelProto
    flops: float
    image: bool = False
    integers: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Inputs, weights and outputs, each once."""
        graph = self.model.graph
        # Of a table that is looked up in, only what is looked up.
        weights: int = sum(prod(each.dims) * 4 for each in graph.initializer if not self.integers)
        return weights + sum(4 * prod(shape(each)) for each in (*graph.input, *graph.output))

    def inputs(self) -> dict[str, Any]:
        """Seeded values."""
        random = np.random.default_rng(0)
        return {
            each.name: random.integers(0, self.integers[each.name], shape(each))
            if each.name in self.integers
            else random.standard_normal(shape(each)).astype("float32")
            for each in self.model.graph.input
        }


class Drafting:
    """A graph under construction: nodes and weights, named as they come."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Its output's name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def weight(self, sizes: Sequence[int], fan: int) -> str:
        """Random, so small that a sum over `fan` products keeps its size."""
        return self.constant((self._random.standard_normal(sizes) / np.sqrt(fan)).astype("float32"))

    def constant(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def activation(self, name: str, value: str) -> str:
        """relu, silu, hardswish or gelu; "" is none."""
        if name == "relu":
            return self.node("Relu", [value])
        if name == "hardswish":
            return self.node("HardSwish", [value])
        if name == "silu":
            return self.node("Mul", [value, self.node("Sigmoid", [value])])
        if name == "gelu":
            half = self.constant(np.float32(0.5))
            scaled = self.node("Div", [value, self.constant(np.float32(np.sqrt(2)))])
            raised = self.node("Add", [self.node("Erf", [scaled]), self.constant(np.float32(1))])
            return self.node("Mul", [self.node("Mul", [value, raised]), half])
        return value

    def model(self, inputs: Mapping[str, Sequence[int]], output: str, integers: Sequence[str] = ()) -> onnx.ModelProto:
        """Inferred and checked."""
        given = [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name in integers else TensorProto.FLOAT, sizes)
            for name, sizes in inputs.items()
        ]
        made = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "kernel", given, [made], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred)
        return inferred


def shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)


def _output_elements(model: onnx.ModelProto) -> int:
    return prod(shape(model.graph.output[0]))


def convolution(
    model: str,
    image: Sequence[int],
    filters: int,
    window: int | tuple[int, ...],
    stride: int | tuple[int, ...] = 1,
    act: str = "",
    groups: int = 1,
    dilation: int = 1,
    residual: bool = False,
    pad: bool = True,
) -> Row:
    """`image`: channels, then sizes, two or one; padded so that a stride of one keeps them."""
    draft, rank, channels = Drafting(), len(image) - 1, image[0]
    windows = (window,) * rank if isinstance(window, int) else window
    strides = (stride,) * rank if isinstance(stride, int) else stride
    pads = [dilation * (size - 1) // 2 if pad else 0 for size in windows]
    depth = channels // groups * prod(windows)
    result = draft.node(
        "Conv",
        ["x", draft.weight((filters, channels // groups, *windows), depth), draft.weight((filters,), 1)],
        kernel_shape=windows,
        strides=strides,
        pads=[*pads, *pads],
        dilations=[dilation] * rank,
        group=groups,
    )
    inputs: dict[str, Sequence[int]] = {"x": (1, *image)}
    if residual:
        inputs["r"] = (1, filters, *image[1:])
        result = draft.node("Add", [result, "r"])
    made = draft.model(inputs, draft.activation(act, result))
    kind = f"{'x'.join(map(str, windows))}" + (f"/{'x'.join(map(str, strides))}" if max(strides) > 1 else "")
    kind += f" dilated {dilation}" if dilation > 1 else ""
    kind += " depthwise" if groups == channels > 1 else f" groups {groups}" if groups > 1 else ""
    name = f"{model} conv {kind} {'x'.join(map(str, image[1:]))} {channels}-{filters}"
    name += " add" * residual + f" {act}" * bool(act)
    return Row(name, made, 2.0 * depth * _output_elements(made), rank == 2)


def transposed(model: str, image: Sequence[int], filters: int, window: int, stride: int, pad: int = 0) -> Row:
    draft, (channels, *sizes) = Drafting(), image
    weights = draft.weight((channels, filters, window, window), channels * window)
    bias = draft.weight((filters,), 1)
    result = draft.node("ConvTranspose", ["x", weights, bias], strides=[stride] * 2, pads=[pad] * 4)
    made = draft.model({"x": (1, *image)}, draft.activation("relu", result))
    name = f"{model} transposed {window}x{window}/{stride} {'x'.join(map(str, sizes))} {channels}-{filters} relu"
    return Row(name, made, 2.0 * prod(image) * filters * window * window, True)


def dense(model: str, rows: int, depth: int, columns: int, act: str = "") -> Row:
    draft = Drafting()
    product = draft.node("MatMul", ["x", draft.weight((depth, columns), depth)])
    result = draft.activation(act, draft.node("Add", [product, draft.weight((columns,), 1)]))
    made = draft.model({"x": (rows, depth)}, result)
    return Row(f"{model} dense {rows}x{depth}-{columns}{f' {act}' * bool(act)}", made, 2.0 * rows * depth * columns)


def batched(model: str, batch: int, rows: int, depth: int, columns: int) -> Row:
    draft = Drafting()
    made = draft.model({"a": (batch, rows, depth), "b": (batch, depth, columns)}, draft.node("MatMul", ["a", "b"]))
    return Row(f"{model} batched {batch}x{rows}x{depth}x{columns}", made, 2.0 * batch * rows * depth * columns)


def attention(model: str, heads: int, length: int, width: int) -> Row:
    """Of one sequence: softmax(q k / sqrt(width)) v."""
    draft = Drafting()
    scores = draft.node("MatMul", ["q", draft.node("Transpose", ["k"], perm=[0, 2, 1])])
    scaled = draft.node("Mul", [scores, draft.constant(np.float32(width**-0.5))])
    result = draft.node("MatMul", [draft.node("Softmax", [scaled], axis=-1), "v"])
    made = draft.model(dict.fromkeys("qkv", (heads, length, width)), result)
    return Row(f"{model} attention {heads}x{length}x{width}", made, 4.0 * heads * length * length * width)


def single(name: str, operator: str, sizes: Sequence[int], attributes: Mapping[str, Any], image: bool = False) -> Row:
    """One node without weights."""
    draft = Drafting()
    return Row(name, draft.model({"x": sizes}, draft.node(operator, ["x"], **attributes)), 0.0, image)


def layer_norm(model: str, rows: int, width: int) -> Row:
    draft = Drafting()
    scale, bias = draft.weight((width,), 1), draft.weight((width,), 1)
    made = draft.model({"x": (1, rows, width)}, draft.node("LayerNormalization", ["x", scale, bias], axis=-1))
    return Row(f"{model} layer norm {rows}x{width}", made, 0.0)


def global_pool(model: str, image: Sequence[int]) -> Row:
    name = f"{model} global average pool {'x'.join(map(str, image))}"
    return single(name, "GlobalAveragePool", (1, *image), {}, image=True)


def resize(model: str, image: Sequence[int], times: int, mode: str) -> Row:
    draft = Drafting()
    scales = draft.constant(np.array([1, 1, times, times], "float32"))
    how = {"coordinate_transformation_mode": "asymmetric" if mode == "nearest" else "half_pixel"}
    if mode == "nearest":
        how["nearest_mode"] = "floor"
    result = draft.node("Resize", ["x", "", scales], mode=mode, **how)
    made = draft.model({"x": (1, *image)}, result)
    return Row(f"{model} resize {mode} x{times} {'x'.join(map(str, image))}", made, 0.0, True)


def concatenation(model: str, image: Sequence[int], channels: Sequence[int]) -> Row:
    draft = Drafting()
    inputs = {f"x{at}": (1, count, *image) for at, count in enumerate(channels)}
    made = draft.model(inputs, draft.node("Concat", list(inputs), axis=1))
    return Row(f"{model} concat {'+'.join(map(str, channels))} {'x'.join(map(str, image))}", made, 0.0, True)


def lookup(model: str, words: int, width: int, count: int) -> Row:
    draft = Drafting()
    made = draft.model({"i": (1, count)}, draft.node("Gather", [draft.weight((words, width), 1), "i"]), integers="i")
    return Row(f"{model} gather {count} of {words}x{width}", made, 0.0, integers={"i": words})


def mean(model: str, rows: int, width: int) -> Row:
    draft = Drafting()
    result = draft.node("ReduceMean", ["x", draft.constant(np.array([-1]))], keepdims=1)
    return Row(f"{model} mean {rows}x{width}", draft.model({"x": (1, rows, width)}, result), 0.0)
