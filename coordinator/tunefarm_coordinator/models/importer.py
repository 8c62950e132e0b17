"""ONNX to Relax: the families of `operators` first, TVM's importer for the rest."""

import contextlib
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.foreign import FOREIGN_FAILURES
from tunefarm_coordinator.models.onnx_graph import (
    Unimportable,
    load_static,
    refuse_unsupported,
    simplified,
    sizes_fault,
    unsupported,
)
from tunefarm_coordinator.models.operators.families import CONVERSIONS, REWRITES
from tunefarm_coordinator.models.operators.family import Key, Operator, Unsupported, attributes_of, key_of
from tunefarm_coordinator.models.operators.rewriting import expanded, place_of, rewritten
from tunefarm_coordinator.models.operators.shape_arithmetic import resolved
from tunefarm_coordinator.models.provenance import named, namer

# TVM's importer looks at no domain: these of its operators are ONNX Runtime's, with Gelu in both domains.
_MICROSOFT = "com.microsoft"
_STOCK_MICROSOFT = {
    "Attention",
    "BiasGelu",
    "EmbedLayerNormalization",
    "FastGelu",
    "Gelu",
    "MatMulInteger16",
    "SkipLayerNormalization",
}
# What these give has sizes that depend on values: no kernel of static shapes.
_DYNAMIC = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}
# Rewriting and simplification help each other: one finds constants, the other leaves what can be folded.
_MOST_ROUNDS = 3


def importable(key: Key) -> bool:
    """Whether a node of this operator can become Relax as it is."""
    domain, name = key
    if key in CONVERSIONS:
        return True
    if domain == _MICROSOFT:
        return name in _STOCK_MICROSOFT
    stock = {*onnx_frontend._get_convert_map(), "If", "Constant"} - (_STOCK_MICROSOFT - {"Gelu"}) - _DYNAMIC
    return domain == "" and name in stock


def import_onnx(path: Path, shapes: dict[str, tuple[int, ...]]) -> Any:
    """The Relax module (`main`, one parameter per input, weights as constants) of the model at `path`.

    Raises:
        InvalidInput: the file can't be read.
        Unimportable: operators that can't be imported (all of them, each with its node); a node that the importer
            refuses.
    """
    original = load_static(path, shapes)
    name = namer(original.graph)
    model = importable_form(path, original)
    refuse_unsupported(path, unsupported(model, importable))
    graph_importer = _Importer(model, shapes, name)
    try:
        # The stock importer prints what it fails on, and warns of each input that it renames.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return named(graph_importer.from_onnx(model.graph, graph_importer.version("")), graph_importer.names)
    except (*FOREIGN_FAILURES, Unsupported) as error:
        node = graph_importer.current
        where = f"{node.op_type} at node {place_of(node)}" if node else "the graph"
        reason = sizes_fault(model, node) or _reason(error)
        message = f"{path}: {where} can't be imported: {reason}"
        raise Unimportable(message, [node] if node else []) from error


def _reason(error: Exception) -> str:
    """In words; where the importer stumbled over its own code, that it did."""
    text = next(iter(str(error).strip().splitlines()[-1:]), "")
    if isinstance(error, AttributeError | LookupError | TypeError) or not text:
        return f"TVM's importer doesn't know this use of it ({type(error).__name__}: {text})"
    return text


def importable_form(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in operators that can be imported, as far as that is known how to do; static shapes assumed.

    Raises:
        InvalidInput: an operator's use is refused.
    """
    # A rewrite may need what only simplification brings: until it had its turn, its operator stays.
    model, changed = expanded(model, lambda key: importable(key) or key in REWRITES), True
    for _ in range(_MOST_ROUNDS):
        if not changed:
            break
        try:
            model, again = rewritten(simplified(resolved(model)))
        except Unsupported as error:
            raise InvalidInput(f"{path}: {error}") from error
        without_functions = expanded(model, importable)
        changed = again or without_functions is not model
        model = without_functions
    return model


class _Importer(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc]
    """TVM's importer, asked only for what no family converts. `current`: the node that it is at; `names`: variables
    of nodes' outputs, with the names of those nodes in the user's file."""

    def __init__(
        self, model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]], name: Callable[[onnx.NodeProto], str]
    ) -> None:
        super().__init__({name: list(shape) for name, shape in shapes.items()}, None)
        self._versions: dict[str, int] = {
            "" if it.domain == "ai.onnx" else it.domain: it.version for it in model.opset_import
        }
        self.current: onnx.NodeProto | None = None
        self.names: dict[Any, str] = {}
        self._name = name

    def version(self, domain: str) -> int:
        """Version of the model's operators of a domain."""
        return self._versions.get(domain, 1)

    def _sanitize_name(self, name: str) -> str:
        """Inputs' names end up in CUDA source, where "gpu_0/data" is a division."""
        return str(super()._sanitize_name(re.sub(r"\W", "_", name, flags=re.ASCII)))

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """`unsupported` has done so, by domain and with the nodes' names."""

    def _construct_nodes(self, graph: onnx.GraphProto) -> None:
        for node in graph.node:
            self.current = node
            convert = CONVERSIONS.get(key_of(node))
            outputs = None if convert is None else convert(self._operator(node))
            if outputs is None:
                super()._construct_nodes(onnx.GraphProto(node=[node]))
            else:
                if isinstance(outputs, relax.Expr) and not isinstance(outputs, relax.Tuple):
                    outputs = [outputs]
                for name, output in zip(node.output, outputs, strict=False):
                    self._nodes[name] = self.bb.normalize(output)
            self._bind(node)
        self.current = None

    def _bind(self, node: onnx.NodeProto) -> None:
        """The node's tensors in variables of its own, so that they can be named."""
        inputs = {id(value) for value in self._inputs.values()}
        for output in node.output:
            value = self._nodes.get(output)
            if isinstance(value, tvm.ir.Call) and isinstance(value.ty, relax.TensorType):
                value = self._nodes[output] = self.bb.emit(value)
            if isinstance(value, relax.Var) and id(value) not in inputs and (name := self._name(node)):
                self.names.setdefault(value, name)

    def _operator(self, node: onnx.NodeProto) -> Operator:
        return Operator(
            node=node,
            inputs=tuple(self._nodes[name] if name else None for name in node.input),
            attributes=attributes_of(node),
            opset=self.version(key_of(node)[0]),
            builder=self.bb,
        )
