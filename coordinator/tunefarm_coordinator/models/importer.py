"""ONNX to Relax, with the stock importer and our own conversion of the few operators it spells badly."""

import contextlib
import io
import re
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.onnx_graph import (
    FOREIGN_FAILURES,
    load_static,
    refuse_unsupported,
    simplified,
    unsupported,
)


def importable_operators() -> set[str]:
    """Operator types that `import_onnx` has a conversion for."""
    return {*onnx_frontend._get_convert_map(), "If", "Constant"}


def import_onnx(path: Path, shapes: dict[str, tuple[int, ...]]) -> Any:
    """The Relax module (`main`, one parameter per input, weights as constants) of the model at `path`.

    Raises:
        InvalidInput: the file can't be read; operators that can't be imported (all of them, each with its
            node); a node that the importer refuses.
    """
    importable = importable_operators()
    model = load_static(path, shapes)
    before = unsupported(model, importable)
    model = simplified(model)
    # Simplification may fold an operator away; what it leaves is what counts, by its name in the file.
    refuse_unsupported(path, before and unsupported(model, importable))
    graph_importer = _Importer({name: list(shape) for name, shape in shapes.items()}, None)
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    try:
        # The stock importer prints what it fails on, and warns of each input that it renames.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return graph_importer.from_onnx(model.graph, opset)
    except FOREIGN_FAILURES as error:
        node = _failed_node(error.__traceback__)
        where = f"{node.op_type} at node {node.name or node.output[0]}" if node else "the graph"
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise InvalidInput(f"{path}: {where} can't be imported: {reason[0]}") from error


def _failed_node(traceback: TracebackType | None) -> onnx.NodeProto | None:
    """The ONNX node that the importer was at when it raised."""
    found = None
    while traceback is not None:
        node = traceback.tb_frame.f_locals.get("node")
        if isinstance(node, onnx.NodeProto):
            found = node
        traceback = traceback.tb_next
    return found


class _Importer(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc]
    """The stock importer makes kernels of Clip (opaque to layout and fusion) and a stack of Sum."""

    def _sanitize_name(self, name: str) -> str:
        """Inputs' names end up in CUDA source, where "gpu_0/data" is a division."""
        return str(super()._sanitize_name(re.sub(r"\W", "_", name, flags=re.ASCII)))

    def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> Any:
        tensors = [inputs[i] for i in range(len(inputs))]
        if op_name == "Clip" and (bounds := _clip_bounds(tensors, attrs)):
            return self.bb.normalize(relax.op.clip(tensors[0], *bounds))
        if op_name in _PAIRWISE:
            total = tensors[0]
            for tensor in tensors[1:]:
                total = self.bb.normalize(_PAIRWISE[op_name](total, tensor))
            return total
        return super()._convert_operator(op_name, inputs, attrs, opset)


_PAIRWISE = {"Sum": relax.op.add, "Max": relax.op.maximum, "Min": relax.op.minimum}


def _clip_bounds(tensors: list[Any], attrs: dict[str, Any]) -> tuple[Any, Any] | None:
    """Both bounds as immediates, or None where one is not known before the model runs."""
    dtype = str(tensors[0].ty.dtype)
    bounds: list[Any] = []
    for index, key in ((1, "min"), (2, "max")):
        bound = tensors[index] if index < len(tensors) else attrs.get(key)
        if isinstance(bound, tvm.ir.GenericConst):
            bound = bound.value.numpy().reshape(-1)[0]
        if bound is None:
            value = tvm.tirx.min_value(dtype) if key == "min" else tvm.tirx.max_value(dtype)
        elif isinstance(bound, int | float | np.number) and np.isfinite(bound):
            value = tvm.tirx.const(bound.item() if isinstance(bound, np.number) else bound, dtype)
        else:
            return None
        bounds.append(value)
    return bounds[0], bounds[1]
