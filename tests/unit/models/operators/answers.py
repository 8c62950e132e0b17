"""Does an ONNX graph, prepared and compiled with default schedules, answer as ONNX Runtime does?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import helper, numpy_helper
from tvm.runtime.vm import VirtualMachine

from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target

Arrays = dict[str, Any]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Arrays,
    outputs: dict[str, int],
    weights: Arrays | None = None,
    *,
    opset: int = 21,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model whose inputs have the types of the arrays; `outputs` by `TensorProto.DataType`."""
    graph = helper.make_graph(
        list(nodes),
        "case",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info(name, dtype, None) for name, dtype in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    domains = {node.domain for node in nodes if node.domain} | {function.domain for function in functions}
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in sorted(domains))]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)


def ours(model: onnx.ModelProto, inputs: Arrays, folder: Path) -> list[Any]:
    """The outputs of the model as tunefarm prepares and compiles it, untuned."""
    path = folder / "case.onnx"
    onnx.save(model, path)
    shapes = {name: tuple(value.shape) for name, value in inputs.items()}
    prepare(path, shapes, host_target(), folder / "prepared")
    packaged = build_untuned(folder / "prepared", folder / "package")
    machine = VirtualMachine(tvm.runtime.load_module(str(packaged.library)), tvm.cpu())
    outputs = machine["main"](*[tvm.runtime.tensor(value) for value in inputs.values()])
    return [output.numpy() for output in ([outputs] if hasattr(outputs, "dtype") else outputs)]


def theirs(model: onnx.ModelProto, inputs: Arrays) -> list[Any]:
    """ONNX Runtime's outputs."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def assert_same(model: onnx.ModelProto, inputs: Arrays, folder: Path, relative: float = 1e-4) -> None:
    """Both give as many outputs, of the same types, sizes and values."""
    found, expected = ours(model, inputs, folder), theirs(model, inputs)
    assert [(a.dtype, a.shape) for a in found] == [(a.dtype, a.shape) for a in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=relative, atol=relative)
