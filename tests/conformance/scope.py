"""Which cases count: tensors, inference, the same at every run. And which of their inputs are really parameters."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.conformance.cases import Case, arrays_of

# Inputs that say how a model is built (axes, sizes, pads), by operator and position. A compiled model has them as
# constants; a user gets there with --freeze.
FROZEN: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "If": (0,),
    "Loop": (0, 1),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **{
        f"Reduce{kind}": (1,)
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
}

_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


def outside(case: Case) -> str | None:
    """Why a case does not count, None where it does."""
    nodes = list(case.model.graph.node)
    if not arrays_of(case):
        return "no tensors, or strings"
    if any(node.op_type in _RANDOM or node.op_type.startswith("Random") for node in nodes) or "bernoulli" in case.name:
        return "random"
    if case.operator == "ImageDecoder":
        return "image decoding"
    if any(node.domain.startswith("ai.onnx.preview.training") for node in nodes) or _trains(case):
        return "training"
    return None


def frozen(case: Case, origin: Case | None = None) -> Case:
    """The case with the inputs of `FROZEN` as initializers; an expanded one's are those of its `origin`."""
    names = set(_parameters(case.model)) | set(_parameters(origin.model) if origin else ())
    wanted = {name: value for name, value in case.inputs.items() if name in names}
    if not wanted:
        return case
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    kept = [value for value in model.graph.input if value.name not in wanted]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in wanted.items())
    return replace(case, model=model, inputs={name: v for name, v in case.inputs.items() if name not in wanted})


def _parameters(model: onnx.ModelProto) -> list[str]:
    return [
        node.input[index]
        for node in model.graph.node
        for index in FROZEN.get(node.op_type, ())
        if index < len(node.input) and node.input[index]
    ]


def _trains(case: Case) -> bool:
    for node in case.model.graph.node:
        if any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute):
            return True
        if node.op_type == "Dropout" and len(node.input) > 2 and _true(case, node.input[2]):
            return True
    return "training" in case.name and case.operator in ("BatchNormalization", "Dropout")


def _true(case: Case, name: str) -> bool:
    value: Any = case.inputs.get(name)
    return value is not None and bool(np.asarray(value).any())
