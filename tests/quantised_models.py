"""Small seeded networks as ONNX Runtime's quantiser leaves them: image classifiers and a text encoder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

SIZE, CLASSES = 16, 12
LENGTH, WIDTH, WORDS = 16, 32, 50


class _Network:
    """Nodes and seeded weights of a network in float."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, Any] = {}

    def node(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        names = [each if isinstance(each, str) else self._weight(each) for each in inputs]
        output = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, names, [output], f"node{len(self._nodes)}", **attributes))
        return output

    def normal(self, *shape: int, fan_in: int) -> Any:
        return (self._rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def save(self, path: Path, name: str, dtype: int, shape: list[int], output: str, sizes: list[int]) -> Path:
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(name, dtype, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, sizes)],
            [numpy_helper.from_array(value, key) for key, value in self._weights.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    def _weight(self, value: Any) -> str:
        name = f"w{len(self._weights)}"
        self._weights[name] = value
        return name


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._left: Iterator[Any] = iter([rng.uniform(-1, 1, (1, 3, SIZE, SIZE)).astype(np.float32) for _ in range(4)])

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image}


def save_classifier(path: Path, *, pairs: bool) -> Path:
    """Convolutions, a residual, a pool and a product on `image`, 1 x 3 x 16 x 16, in 8 bits: QuantizeLinear and
    DequantizeLinear in pairs, or QLinearConv and its like."""
    net = _Network(0)
    value = net.node("Relu", _convolution(net, "image", 3, 16))
    value = net.node("Relu", net.node("Add", _convolution(net, value, 16, 16), value))
    value = net.node("Flatten", net.node("GlobalAveragePool", _convolution(net, value, 16, 32)))
    output = net.node("Gemm", value, net.normal(CLASSES, 32, fan_in=32), net.normal(CLASSES, fan_in=9), transB=1)
    plain = net.save(
        path.with_suffix(".float.onnx"), "image", TensorProto.FLOAT, [1, 3, SIZE, SIZE], output, [1, CLASSES]
    )
    form = QuantFormat.QDQ if pairs else QuantFormat.QOperator
    quantize_static(
        plain,
        path,
        _Images(),
        quant_format=form,
        per_channel=pairs,
        activation_type=QuantType.QUInt8 if pairs else QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def _convolution(net: _Network, value: str, channels: int, filters: int) -> str:
    weight = net.normal(filters, channels, 3, 3, fan_in=9 * channels)
    return net.node("Conv", value, weight, net.normal(filters, fan_in=9), pads=[1] * 4)


def save_encoder(path: Path) -> Path:
    """One layer of a transformer on `ids`, 1 x 16, whose products are of integers, quantised as they come."""
    net = _Network(1)
    value = net.node(
        "Add", net.node("Gather", net.normal(WORDS, WIDTH, fan_in=2), "ids"), net.normal(LENGTH, WIDTH, fan_in=2)
    )
    query, key, content = (_product(net, value, WIDTH, WIDTH) for _ in range(3))
    scores = net.node(
        "Mul", net.node("MatMul", query, net.node("Transpose", key, perm=[0, 2, 1])), np.float32(WIDTH**-0.5)
    )
    mixed = net.node("MatMul", net.node("Softmax", scores, axis=-1), content)
    value = _normalised(net, net.node("Add", value, _product(net, mixed, WIDTH, WIDTH)))
    wide = _product(net, value, WIDTH, 4 * WIDTH)
    active = net.node("Mul", wide, net.node("Sigmoid", wide))
    output = _normalised(net, net.node("Add", value, _product(net, active, 4 * WIDTH, WIDTH)))
    plain = net.save(path.with_suffix(".float.onnx"), "ids", TensorProto.INT64, [1, LENGTH], output, [1, LENGTH, WIDTH])
    quantize_dynamic(plain, path, per_channel=True, weight_type=QuantType.QInt8)
    return path


def _product(net: _Network, value: str, inner: int, columns: int) -> str:
    product = net.node("MatMul", value, net.normal(inner, columns, fan_in=inner))
    return net.node("Add", product, net.normal(columns, fan_in=20))


def _normalised(net: _Network, value: str) -> str:
    return net.node("LayerNormalization", value, np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32), axis=-1)
