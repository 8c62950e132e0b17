"""The kernels that templates are measured on: those of the models, fused as they come there, and of operators that the
models lack. Committed, so that a figure is always of the same list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import te, topi


@dataclass(frozen=True)
class Shape:
    """One kernel.

    Attributes:
        row: its name in tables.
        operator: as in `engines.autotvm.operators`.
        sizes: arguments of the operator's builder below.
    """

    row: str
    operator: str
    sizes: tuple[Any, ...]

    @property
    def module(self) -> str:
        """The kernel's unscheduled module as JSON."""
        return _BUILDERS[self.operator.removesuffix("_nhwc").removesuffix("_nchw")](self, *self.sizes)


def _task(result: te.Tensor, arguments: Sequence[te.Tensor], weights: Sequence[int]) -> str:
    function = te.create_prim_func([*arguments, result]).with_attr("global_symbol", "main")
    if weights:
        function = function.with_attr("layout_free_buffers", list(weights))
    return str(tvm.ir.save_json(tvm.IRModule({"main": function})))


def _activated(product: te.Tensor, bias: te.Tensor, activation: str, others: Sequence[te.Tensor] = ()) -> te.Tensor:
    result = topi.add(product, bias)
    for other in others:
        result = topi.add(result, other)
    if activation == "relu":
        return topi.nn.relu(result)
    if activation == "hard_swish":
        gate = topi.clip(topi.add(result, tvm.tirx.const(3.0, "float32")), 0.0, 6.0)
        return topi.divide(topi.multiply(result, gate), tvm.tirx.const(6.0, "float32"))
    return result


def _convolution(
    shape: Shape,
    image: tuple[int, int, int],
    filters: int,
    window: tuple[int, int] | int,
    stride: tuple[int, int] | int = 1,
    pad: int = 0,
    activation: str = "relu",
    groups: int = 1,
) -> str:
    """`image`: (height, width, channels)."""
    height, width, channels = image
    rows, columns = (window, window) if isinstance(window, int) else window
    if shape.operator.endswith("nhwc"):
        data = te.placeholder((1, height, width, channels), name="image")
        weight = te.placeholder((rows, columns, channels // groups, filters), name="weight")
        bias = te.placeholder((1, 1, 1, filters), name="bias")
        layouts = ("NHWC", "HWIO")
    else:
        data = te.placeholder((1, channels, height, width), name="image")
        weight = te.placeholder((filters, channels // groups, rows, columns), name="weight")
        bias = te.placeholder((1, filters, 1, 1), name="bias")
        layouts = ("NCHW", "OIHW")
    convolved = topi.nn.conv(data, weight, stride, pad, 1, groups, *layouts)
    return _task(_activated(convolved, bias, activation), [data, weight, bias], [1, 2])


def _transposed(
    _shape: Shape, image: tuple[int, int, int], filters: int, window: int, stride: int, pad: int = 0
) -> str:
    height, width, channels = image
    data = te.placeholder((1, channels, height, width), name="image")
    weight = te.placeholder((channels, filters, window, window), name="weight")
    bias = te.placeholder((1, filters, 1, 1), name="bias")
    product = topi.nn.conv2d_transpose_nchw(data, weight, (stride, stride), (pad,) * 4, "float32", (0, 0))
    return _task(_activated(product, bias, "relu"), [data, weight, bias], [1, 2])


def _dense(_shape: Shape, rows: int, depth: int, columns: int) -> str:
    data = te.placeholder((rows, depth), name="data")
    weight = te.placeholder((depth, columns), name="weight")
    bias = te.placeholder((columns,), name="bias")
    return _task(topi.add(topi.matmul(data, weight), bias), [data, weight, bias], [1, 2])


def _batch_matmul(_shape: Shape, batch: int, rows: int, depth: int, columns: int) -> str:
    left = te.placeholder((batch, rows, depth), name="left")
    right = te.placeholder((batch, depth, columns), name="right")
    step = te.reduce_axis((0, depth), name="k")
    product = te.compute(
        (batch, rows, columns),
        lambda b, i, j: te.sum(left[b, i, step] * right[b, step, j], axis=step),
        name="matmul",
    )
    return _task(product, [left, right], [])


_BUILDERS: dict[str, Callable[..., str]] = {
    "conv2d_1x1": _convolution,
    "conv2d_3x3": _convolution,
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "grouped_conv2d": _convolution,
    "conv2d_transpose": _transposed,
    "dense": _dense,
    "batch_matmul": _batch_matmul,
}


def _pointwise(model: str, height: int, width: int, channels: int, filters: int, activation: str = "relu") -> Shape:
    row = f"{model} 1x1 {height}x{width} {channels}-{filters}{' ' * bool(activation)}{activation}"
    return Shape(row, "conv2d_1x1_nhwc", ((height, width, channels), filters, 1, 1, 0, activation))


def _window(model: str, height: int, width: int, channels: int, filters: int) -> Shape:
    row = f"{model} 3x3 {height}x{width} {channels}-{filters}"
    return Shape(row, "conv2d_3x3_nhwc", ((height, width, channels), filters, 3, 1, 1))


def _depthwise(
    model: str,
    image: tuple[int, int, int],
    window: int,
    stride: tuple[int, int] = (1, 1),
    activation: str = "hard_swish",
) -> Shape:
    height, width, channels = image
    row = f"{model} depthwise {window}x{window}/{stride[0]} {height}x{width}x{channels}"
    sizes = (image, channels, window, stride, window // 2, activation, channels)
    return Shape(row, "depthwise_conv2d_nhwc", sizes)


SQUEEZENET = (
    _pointwise("squeezenet", 13, 13, 512, 1000),
    _window("squeezenet", 55, 55, 16, 64),
    _window("squeezenet", 27, 27, 32, 128),
    _window("squeezenet", 13, 13, 64, 256),
    _window("squeezenet", 13, 13, 48, 192),
    Shape("squeezenet 3x3/2 224x224 3-64", "conv2d_3x3_nhwc", ((224, 224, 3), 64, 3, 2, 0)),
    _pointwise("squeezenet", 55, 55, 16, 64),
    _pointwise("squeezenet", 55, 55, 128, 16),
    _pointwise("squeezenet", 27, 27, 32, 128),
    _pointwise("squeezenet", 27, 27, 256, 32),
    _pointwise("squeezenet", 13, 13, 64, 256),
    _pointwise("squeezenet", 13, 13, 512, 64),
    _pointwise("squeezenet", 13, 13, 384, 64),
    _pointwise("squeezenet", 13, 13, 48, 192),
    _pointwise("squeezenet", 55, 55, 64, 16),
    _pointwise("squeezenet", 13, 13, 384, 48),
    _pointwise("squeezenet", 27, 27, 128, 32),
    _pointwise("squeezenet", 13, 13, 256, 48),
)

DIRECTION = (
    _pointwise("direction", 2, 96, 32, 200, "hard_swish"),
    _pointwise("direction", 2, 96, 200, 32, ""),
    _depthwise("direction", (2, 96, 200), 5),
    _depthwise("direction", (3, 96, 88), 5),
    _pointwise("direction", 3, 96, 16, 88, "hard_swish"),
    _pointwise("direction", 3, 96, 88, 16, ""),
    _pointwise("direction", 2, 96, 104, 32, ""),
    _pointwise("direction", 3, 96, 16, 104, "hard_swish"),
    _depthwise("direction", (3, 96, 104), 5, (2, 1)),
    Shape("direction 3x3/2 48x192 3-8", "conv2d_3x3_nhwc", ((48, 192, 3), 8, 3, 2, 1, "hard_swish")),
    _depthwise("direction", (3, 96, 48), 5),
    _depthwise("direction", (3, 96, 40), 5),
    _pointwise("direction", 3, 96, 16, 48, "hard_swish"),
    _depthwise("direction", (6, 96, 32), 5, (2, 1)),
    _pointwise("direction", 12, 96, 8, 24),
    _pointwise("direction", 3, 96, 48, 16, ""),
    _pointwise("direction", 3, 96, 16, 40, "hard_swish"),
    _pointwise("direction", 6, 96, 8, 32, "hard_swish"),
    _pointwise("direction", 3, 96, 40, 16, ""),
    _depthwise("direction", (6, 96, 32), 3, (1, 1), "relu"),
    _pointwise("direction", 24, 96, 8, 8),
    _pointwise("direction", 6, 96, 8, 32),
    _pointwise("direction", 6, 96, 32, 8, ""),
    _pointwise("direction", 3, 96, 32, 16, ""),
    _depthwise("direction", (12, 96, 24), 3, (2, 1), "relu"),
    _pointwise("direction", 6, 96, 24, 8, ""),
    _depthwise("direction", (24, 96, 8), 3, (2, 1), "relu"),
    _pointwise("direction", 12, 96, 8, 8, ""),
)

OTHERS = (
    Shape("conv2d 7x7/2 224x224 3-64", "conv2d_nhwc", ((224, 224, 3), 64, 7, 2, 3)),
    Shape("conv2d nchw 3x3 28x28 64-64", "conv2d_3x3_nchw", ((28, 28, 64), 64, 3, 1, 1)),
    Shape("conv2d nchw 1x1 28x28 64-128", "conv2d_1x1_nchw", ((28, 28, 64), 128, 1, 1, 0)),
    Shape("conv2d nchw 5x5 14x14 32-64", "conv2d_nchw", ((14, 14, 32), 64, 5, 1, 2)),
    Shape("depthwise nhwc 3x3 56x56x64", "depthwise_conv2d_nhwc", ((56, 56, 64), 64, 3, 1, 1, "relu", 64)),
    Shape("depthwise nchw 3x3 28x28x136", "depthwise_conv2d_nchw", ((28, 28, 136), 136, 3, 1, 1, "", 136)),
    Shape("grouped nchw 1x1 14x14 272-272 g4", "grouped_conv2d_nchw", ((14, 14, 272), 272, 1, 1, 0, "relu", 4)),
    Shape("grouped nchw 3x3 28x28 64-64 g4", "grouped_conv2d_nchw", ((28, 28, 64), 64, 3, 1, 1, "relu", 4)),
    Shape("grouped nhwc 3x3 28x28 128-128 g8", "grouped_conv2d_nhwc", ((28, 28, 128), 128, 3, 1, 1, "relu", 8)),
    Shape("transpose 4x4/2 16x16 64-32", "conv2d_transpose_nchw", ((16, 16, 64), 32, 4, 2, 1)),
    Shape("transpose 2x2/2 40x40 24-24", "conv2d_transpose_nchw", ((40, 40, 24), 24, 2, 2)),
    Shape("dense 1x544-1000", "dense", (1, 544, 1000)),
    Shape("dense 64x768-768", "dense", (64, 768, 768)),
    Shape("batch_matmul 12x128x64x128", "batch_matmul", (12, 128, 64, 128)),
    Shape("batch_matmul 12x128x128x64", "batch_matmul", (12, 128, 128, 64)),
)

SHAPES = (*SQUEEZENET, *DIRECTION, *OTHERS)
