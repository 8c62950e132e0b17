"""Nodes that a rewrite puts in the place of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tunefarm_coordinator.models.operators.graph import Graph


class Draft:
    """Nodes in the order in which they compute; the last one gives `output`."""

    def __init__(self, graph: Graph, output: str) -> None:
        self._graph = graph
        self._output = output
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose new name it gives."""
        name = self._graph.fresh(f"{self._output}_{operator}")
        self.nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def add_many(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs."""
        names = [self._graph.fresh(f"{self._output}_{operator}") for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def constant(self, value: Any) -> str:
        """A new initializer; pass NumPy arrays, whose dtype it has."""
        return self._graph.add_constant(np.asarray(value), f"{self._output}_constant")

    def ended(self) -> list[onnx.NodeProto]:
        """The nodes, the last of which gives the output that all are in the place of."""
        del self.nodes[-1].output[1:]
        self.nodes[-1].output[0] = self._output
        return self.nodes
