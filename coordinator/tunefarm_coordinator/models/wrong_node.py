"""Which ONNX node comes out wrong: values in between are made outputs, of both programs, and compared in order.

On the whole graph at once, as far as memory allows: one more compilation. Where making them outputs makes the fault go
away (it lies in what is fused, or simplified), single values are tried, by bisection.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import tvm
from numpy.typing import NDArray
from onnx import helper
from tvm.runtime.vm import VirtualMachine

from tunefarm_coordinator.engines.candidate import BuildError
from tunefarm_coordinator.engines.linker import LinkError
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.compare import fault_of
from tunefarm_coordinator.models.conditioning import bound_in
from tunefarm_coordinator.models.onnx_graph import load_static
from tunefarm_coordinator.models.operators.rewriting import place_of
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.reference_session import load_session, run_session
from tunefarm_coordinator.models.target import host_target

Values = dict[str, NDArray[Any]]

# Bytes of values that are kept at once.
MOST_BYTES = 2**30
# Bisection ends after so many seconds, with what it has found.
MOST_SECONDS = 180.0


def wrong_node(path: Path, shapes: dict[str, tuple[int, ...]], inputs: Sequence[NDArray[Any]]) -> str:
    """The first node whose value differs, and by how much, as in "Resize at node up, which is off by 0.3, ..."; empty
    where none could be found."""
    search = _Search(load_static(path, shapes), shapes, inputs)
    try:
        return search.all_at_once() or search.one_by_one()
    except (InvalidInput, BuildError, LinkError, *TVM_ERRORS):
        # The model with more outputs is another one, which may be refused.
        return ""


class _Search:
    def __init__(
        self, model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]], inputs: Sequence[NDArray[Any]]
    ) -> None:
        self._model = model
        self._shapes = shapes
        self._inputs = inputs
        self._nodes = list(_reached(model.graph))

    def all_at_once(self) -> str:
        for nodes in self._portions():
            found = self._first_fault(nodes)
            if found:
                return found
        return ""

    def one_by_one(self) -> str:
        """Bisection: the outputs of one node at a time."""
        started, low, high, last = time.monotonic(), 0, len(self._nodes) - 1, ""
        while low <= high and time.monotonic() - started < MOST_SECONDS:
            middle = (low + high) // 2
            found = self._first_fault([self._nodes[middle]])
            if found:
                high, last = middle - 1, found
            else:
                low = middle + 1
        return last

    def _portions(self) -> Iterator[list[onnx.NodeProto]]:
        """Nodes in order, as many at a time as `MOST_BYTES` of values allow."""
        sizes = {name: value.nbytes for name, value in self._expected(self._nodes).items()}
        portion: list[onnx.NodeProto] = []
        held = 0
        for node in self._nodes:
            size = sum(sizes.get(name, 0) for name in node.output)
            if portion and held + size > MOST_BYTES:
                yield portion
                portion, held = [], 0
            portion.append(node)
            held += size
        yield portion

    def _first_fault(self, nodes: list[onnx.NodeProto]) -> str:
        expected = self._expected(nodes)
        found = self._found(expected)
        for node in nodes:
            for name in node.output:
                if name not in expected:
                    continue
                fault = fault_of(found[name], expected[name], bound_in(self._model.graph, name, expected[name].dtype))
                if fault:
                    return f"{node.op_type} at node {place_of(node)}, which {fault}"
        return ""

    def _expected(self, nodes: list[onnx.NodeProto]) -> Values:
        """What ONNX Runtime has for the nodes' outputs: those that are tensors."""
        names = [name for node in nodes for name in node.output if name]
        session = load_session(self._with_outputs(onnx.ValueInfoProto(name=name) for name in names), optimised=False)
        values = run_session(session, self._inputs, names)
        return {name: value for name, value in zip(names, values, strict=True) if hasattr(value, "dtype")}

    def _found(self, expected: Values) -> Values:
        outputs = (
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in expected.items()
        )
        with tempfile.TemporaryDirectory(prefix="tunefarm-check-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(self._with_outputs(outputs))
            prepare(path, self._shapes, host_target(), Path(folder) / "prepared")
            packaged = build_untuned(Path(folder) / "prepared", Path(folder) / "package")
            machine = VirtualMachine(tvm.runtime.load_module(str(packaged.library)), tvm.cpu())
            outputs_found = machine["main"](*[tvm.runtime.tensor(value) for value in self._inputs])
        values = [outputs_found] if hasattr(outputs_found, "shape") else list(outputs_found)
        return {name: value.numpy() for name, value in zip(expected, values, strict=True)}

    def _with_outputs(self, outputs: Any) -> bytes:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.output[:]
        model.graph.output.extend(outputs)
        return bytes(model.SerializeToString())


def _reached(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes whose values depend on the inputs, in order."""
    known = {value.name for value in graph.input}
    for node in graph.node:
        if known.intersection(node.input) or not graph.input:
            known.update(node.output)
            yield node
