"""A row's model in the forms in which the programs run it, and ours packaged by the product's own path."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tvm
from kernel_models import Row, shape
from onnx import TensorProto, helper, numpy_helper
from tvm.runtime.vm import VirtualMachine

from tunefarm_coordinator.models.package import build_package
from tunefarm_coordinator.models.prepare import PreparedModel, prepare
from tunefarm_coordinator.models.untuned_check import run_library

# Most that an output may be off, of the greatest of the expected ones.
TOLERANCE = 1e-3
_LAST = [0, 2, 3, 1]
_FIRST = [0, 3, 1, 2]


@dataclass(frozen=True)
class Program:
    """Our form of a row: its ONNX file, the inputs' values, and what was prepared of it."""

    path: Path
    inputs: dict[str, Any]
    prepared: PreparedModel

    def packaged(self, traces: Mapping[str, str], folder: Path) -> Path:
        """The library with these schedules (by workload; the default where there is none). Raises ValueError where it
        does not answer as ONNX Runtime does."""
        library = build_package(self.prepared.directory, dict(traces), folder).library
        session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        expected = session.run(None, self.inputs)
        machine = VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
        for found, right in zip(run_library(self.path, machine, list(self.inputs.values())), expected, strict=True):
            error = np.abs(found - right).max() / np.abs(right).max()
            if not error <= TOLERANCE:
                raise ValueError(f"the output is off by {error:.2g} of the greatest value")
        return library


def program(row: Row, target: str, folder: Path) -> Program:
    """Prepares a row for `target` (JSON). A kernel of images is given them channels last where a network would be
    laid out so."""
    path = folder / "ours.onnx"
    model = _channels_last(row.model) if row.image else row.model
    prepared, values = _prepared(model, row, target, path, folder / "prepared")
    if row.image and prepared.layout != "NHWC":
        prepared, values = _prepared(row.model, row, target, path, folder / "prepared")
    return Program(path, values, prepared)


def save_inputs(values: dict[str, Any], path: Path) -> Path:
    np.savez(path, **values)
    return path


def _prepared(
    model: onnx.ModelProto, row: Row, target: str, path: Path, out: Path
) -> tuple[PreparedModel, dict[str, Any]]:
    onnx.save(model, path)
    values = row.inputs()
    for each in model.graph.input:
        wanted = shape(each)
        if each.name not in values:
            values[each.name] = np.ones(wanted, "float32")
        elif values[each.name].shape != wanted:
            values[each.name] = np.ascontiguousarray(values[each.name].transpose(_LAST))
    shapes = {each.name: shape(each) for each in model.graph.input}
    return prepare(path, shapes, target, out), values


def _channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with its images channels last at the ends. A network's layout is that of its convolutions: a model that
    has none gets one of a single multiplication beside it."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    before, after = [], []
    for end, at_start in [*((each, True) for each in graph.input), *((each, False) for each in graph.output)]:
        sizes, inner = shape(end), f"{end.name}_first"
        for node in graph.node:
            names = node.input if at_start else node.output
            names[:] = [inner if name == end.name else name for name in names]
        if at_start:
            before.append(helper.make_node("Transpose", [end.name], [inner], perm=_FIRST))
        else:
            after.append(helper.make_node("Transpose", [inner], [end.name], perm=_LAST))
        end.CopyFrom(helper.make_tensor_value_info(end.name, TensorProto.FLOAT, [sizes[at] for at in _LAST]))
    nodes = [*before, *graph.node, *after]
    if not any(node.op_type == "Conv" for node in nodes):
        one = [1, 1, 1, 1]
        nodes.append(helper.make_node("Conv", ["beside", "one"], ["besides"]))
        graph.input.append(helper.make_tensor_value_info("beside", TensorProto.FLOAT, one))
        graph.output.append(helper.make_tensor_value_info("besides", TensorProto.FLOAT, one))
        graph.initializer.append(numpy_helper.from_array(np.ones(one, "float32"), "one"))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(made)
    return made
