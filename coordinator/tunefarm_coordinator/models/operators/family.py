"""What a family of operators is made of: rewrites, conversions, and how they refuse."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import onnx
from onnx import helper

from tunefarm_coordinator.models.operators.graph import Graph

# Domain and operator, as ("com.microsoft", "FusedMatMul"); the standard's own domain is "".
Key = tuple[str, str]

Rewrite = Callable[[onnx.NodeProto, Graph], list[onnx.NodeProto] | None]


class Unsupported(Exception):
    """This use of an operator can't be imported; the message is the reason, without operator and node."""


@dataclass(frozen=True)
class Operator:
    """One node on its way to Relax.

    Attributes:
        node: as it stands in the ONNX graph.
        inputs: Relax expressions, None for an optional input that is left out.
        attributes: by name, as Python values; those that the node does not have are absent.
        opset: version of the node's domain.
        builder: `relax.BlockBuilder` at the node's place.
    """

    node: onnx.NodeProto
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any]
    opset: int
    builder: Any

    def input(self, index: int) -> Any:
        """The input at `index`; None where it is left out or beyond the last."""
        return self.inputs[index] if index < len(self.inputs) else None

    def emit(self, expr: Any) -> Any:
        """`expr` bound to a variable, with its type known."""
        return self.builder.emit(expr)


# One expression for each output of the node, a single one as it is; None leaves the node to TVM's importer.
Conversion = Callable[[Operator], Any | Sequence[Any] | None]


class Family(Protocol):
    """A module of `operators`; each of the three may be left out."""

    REWRITES: Mapping[Key, Rewrite]
    CONVERSIONS: Mapping[Key, Conversion]
    EXPANDED: frozenset[Key]


def key_of(node: onnx.NodeProto) -> Key:
    return ("" if node.domain == "ai.onnx" else node.domain, node.op_type)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes as Python values; bytes become text."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
