"""Recurrent operators against ONNX Runtime: many variants to a model, since each model is compiled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.unit.models.operators.answers import assert_same, model_of, ours, theirs
from tunefarm_coordinator.models.importer import import_onnx
from tunefarm_coordinator.models.operators.steps import _pieces
from tunefarm_coordinator.models.prepare import load_prepared

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ALL_LSTM_OUTPUTS = ("y", "h", "c")


@dataclass(frozen=True)
class Layer:
    """One node. `outputs`: which of y, h and c it has. `lengths`: a list where known, "given" for an input."""

    kind: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("y", "h")
    bias: bool = True
    initial: bool = False
    peepholes: bool = False
    lengths: Any = None

    @property
    def directions(self) -> int:
        return 2 if self.attributes.get("direction") == "bidirectional" else 1


@dataclass
class Case:
    """A model of layers that read the same input."""

    layers: list[Layer]
    length: int = 5
    batch: int = 2
    features: int = 3
    hidden: int = 6
    dtype: Any = np.float32

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self.inputs: dict[str, Any] = {"x": 2 * self._random(self.length, self.batch, self.features)}
        if any(layer.lengths == "given" for layer in self.layers):
            self.inputs["lengths"] = np.asarray([2, self.length], np.int32)
        self._weights: dict[str, NDArray[Any]] = {}
        nodes = [self._node(index, layer) for index, layer in enumerate(self.layers)]
        outputs = [name for node in nodes for name in node.output if name]
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        self.model = model_of(nodes, self.inputs, dict.fromkeys(outputs, dtype), self._weights, opset=14)

    def _node(self, index: int, layer: Layer) -> onnx.NodeProto:
        gates, hidden = GATES[layer.kind], self.hidden
        sizes = {
            "w": (gates * hidden, self.features),
            "r": (gates * hidden, hidden),
            "b": (2 * gates * hidden,) if layer.bias else None,
            "lengths": None,
            "h0": (self.batch, hidden) if layer.initial else None,
            "c0": (self.batch, hidden) if layer.initial and layer.kind == "LSTM" else None,
            "p": (3 * hidden,) if layer.peepholes else None,
        }
        inputs = ["x"]
        for name, size in sizes.items():
            inputs.append(f"{name}{index}" if size else "")
            if size:
                self._weights[inputs[-1]] = self._random(layer.directions, *size) / self.dtype(2)
        if layer.lengths == "given":
            inputs[4] = "lengths"
        elif layer.lengths:
            inputs[4] = f"lengths{index}"
            self._weights[inputs[4]] = np.asarray(layer.lengths, np.int32)
        while not inputs[-1]:
            inputs.pop()
        names = ALL_LSTM_OUTPUTS[: 2 + ("c" in layer.outputs)]
        outputs = [f"{name}{index}" if name in layer.outputs else "" for name in names]
        return helper.make_node(layer.kind, inputs, outputs, hidden_size=hidden, **layer.attributes)

    def _random(self, *sizes: int) -> NDArray[Any]:
        """The same numbers in every type."""
        return self._rng.uniform(-1, 1, sizes).astype(np.float16).astype(self.dtype)


LSTMS = [
    Layer("LSTM", {"direction": "reverse"}, ALL_LSTM_OUTPUTS, bias=False, initial=True),
    Layer("LSTM", {"direction": "bidirectional", "clip": 0.5}, ALL_LSTM_OUTPUTS, peepholes=True, lengths=[3, 5]),
    Layer(
        "LSTM",
        {
            "input_forget": 1,
            "activations": ["HardSigmoid", "ScaledTanh", "Softsign"],
            "activation_alpha": [0.3, 1.2],
            "activation_beta": [0.4, 0.7],
        },
        ("c",),
        lengths=[5, 5],
    ),
]
GRUS = [
    Layer("GRU", {"linear_before_reset": 1, "direction": "bidirectional"}, initial=True, lengths=[4, 1]),
    Layer("GRU", {"clip": 0.3, "direction": "reverse"}, ("h",), bias=False, initial=True),
]
RNNS = [
    Layer("RNN", {"direction": "bidirectional", "activations": ["Elu", "LeakyRelu"]}, initial=True),
    Layer("RNN", {"activations": ["Softplus"]}, ("y",)),
    Layer("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.1]}, ("y",)),
]


@pytest.mark.parametrize("layers", [LSTMS, GRUS, RNNS], ids=["LSTM", "GRU", "RNN"])
def test_variants_answer_as_onnx_runtime_does(layers: list[Layer], tmp_path: Path) -> None:
    case = Case(layers)
    assert_same(case.model, case.inputs, tmp_path, 2e-6)


def test_long_sequences_are_loops_and_end_where_their_lengths_say(tmp_path: Path) -> None:
    case = Case(
        [
            Layer("LSTM", {"direction": "bidirectional"}, ALL_LSTM_OUTPUTS, initial=True, lengths="given"),
            Layer("GRU", {"direction": "reverse"}, ("y",)),
        ],
        length=85,
    )
    assert_same(case.model, case.inputs, tmp_path, 2e-6)


def test_a_thousand_steps_have_as_few_kernels_as_twenty(tmp_path: Path) -> None:
    counts = []
    for length in (20, 1000):
        case = Case([Layer("LSTM", outputs=ALL_LSTM_OUTPUTS)], length=length)
        path = tmp_path / f"{length}.onnx"
        onnx.save(case.model, path)
        imported = import_onnx(path, {"x": case.inputs["x"].shape})
        counts.append(len(imported.functions))
    assert counts[1] <= counts[0] + 4


@pytest.mark.parametrize(("count", "sizes"), [(17, [8, 8, 1]), (64, [8] * 8), (65, [64, 1]), (130, [64, 64, 2])])
def test_pieces_of_a_loop(count: int, sizes: list[int]) -> None:
    assert list(_pieces(count)) == sizes


def test_batches_first(tmp_path: Path) -> None:
    """ONNX Runtime has no such layout: it is asked for the same with steps first."""
    layer = Layer("LSTM", {"direction": "bidirectional"}, ALL_LSTM_OUTPUTS, initial=True)
    case = Case([layer])
    expected = theirs(case.model, case.inputs)
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    node = model.graph.node[0]
    node.attribute.append(helper.make_attribute("layout", 1))
    for tensor in model.graph.initializer:
        if tensor.name.startswith(("h0", "c0")):
            swapped = onnx.numpy_helper.to_array(tensor).swapaxes(0, 1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(swapped), tensor.name))
    inputs = {"x": np.ascontiguousarray(case.inputs["x"].swapaxes(0, 1))}
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, inputs["x"].shape))
    steps, *states = ours(model, inputs, tmp_path)
    np.testing.assert_allclose(steps, expected[0].transpose(2, 0, 1, 3), rtol=1e-5, atol=1e-6)
    for found, state in zip(states, expected[1:], strict=True):
        np.testing.assert_allclose(found, state.swapaxes(0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 2e-3), (np.float64, 1e-13)])
def test_other_floats(dtype: Any, tolerance: float, tmp_path: Path) -> None:
    """ONNX Runtime has float32 alone; ONNX's own reference computes in float64."""
    layers = [Layer("LSTM", {"direction": "bidirectional"}, ALL_LSTM_OUTPUTS, initial=True), Layer("RNN")]
    case, exact = (Case(layers, length=24, hidden=8, dtype=kind) for kind in (dtype, np.float64))
    expected = ReferenceEvaluator(exact.model).run(None, exact.inputs)
    found = ours(case.model, case.inputs, tmp_path)
    assert {value.dtype for value in found} == {np.dtype(dtype)}
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.astype(np.float64), other, rtol=tolerance, atol=tolerance)


def test_dynamically_quantised_weights_are_multiplied_as_integers(tmp_path: Path) -> None:
    length, features, hidden = 20, 8, 16
    random = np.random.default_rng(0)
    inputs = {"x": random.uniform(-1, 1, (length, 1, features)).astype(np.float32)}
    weights = {
        "w": random.integers(0, 256, (2, features, 4 * hidden)).astype(np.uint8),
        "r": random.integers(0, 256, (2, hidden, 4 * hidden)).astype(np.uint8),
        "b": random.uniform(-1, 1, (2, 8 * hidden)).astype(np.float32),
        "w_scale": np.asarray([0.01, 0.02], np.float32),
        "w_zero": np.full(2, 128, np.uint8),
        "r_scale": np.asarray([0.004, 0.003], np.float32),
        "r_zero": np.asarray([120, 131], np.uint8),
    }
    names = ["x", "w", "r", "b", "", "", "", "", "w_scale", "w_zero", "r_scale", "r_zero"]
    attributes = {"hidden_size": hidden, "direction": "bidirectional", "domain": "com.microsoft"}
    node = helper.make_node("DynamicQuantizeLSTM", names, list("yhc"), **attributes)
    model = model_of([node], inputs, dict.fromkeys("yhc", onnx.TensorProto.FLOAT), weights)
    assert_same(model, inputs, tmp_path, 1e-3)
    kernels = load_prepared(tmp_path / "prepared").module()
    assert "int32" in str(kernels.script(show_meta=False))
