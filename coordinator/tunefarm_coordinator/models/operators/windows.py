"""What convolutions and pooling have in common: padding that is given by a name becomes numbers (ONNX, Conv-11)."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from tunefarm_coordinator.models.operators.family import Key, Rewrite, attributes_of
from tunefarm_coordinator.models.operators.graph import Graph


@dataclass(frozen=True)
class Window:
    """One spatial axis of a sliding window, all in elements; `extent`: from its first to its last element."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def extent(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def outputs(self, ceil: bool = False) -> int:
        """How many windows; with `ceil`, one that begins inside the input or its padding may reach beyond."""
        room = self.size + self.before + self.after - self.extent
        count = (-(-room // self.stride) if ceil else room // self.stride) + 1
        return count - 1 if ceil and (count - 1) * self.stride >= self.size + self.before else count


def windows_of(sizes: Sequence[int], kernel: Sequence[int], attributes: dict[str, object]) -> list[Window]:
    """The windows over the spatial `sizes`, named padding resolved."""
    rank = len(sizes)

    def numbers(name: str, otherwise: int, count: int) -> list[int]:
        given = attributes.get(name)
        return [int(value) for value in given] if isinstance(given, Sequence) and given else [otherwise] * count

    strides, dilations = numbers("strides", 1, rank), numbers("dilations", 1, rank)
    pads, named = numbers("pads", 0, 2 * rank), str(attributes.get("auto_pad", "NOTSET"))
    found = []
    for axis, size in enumerate(sizes):
        before, after = pads[axis], pads[rank + axis]
        if named != "NOTSET":
            before, after = _same(size, kernel[axis], strides[axis], dilations[axis], named)
        found.append(Window(size, kernel[axis], strides[axis], dilations[axis], before, after))
    return found


def _same(size: int, kernel: int, stride: int, dilation: int, named: str) -> tuple[int, int]:
    """As many outputs as strides fit into the input; VALID pads nothing."""
    if named == "VALID":
        return 0, 0
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    smaller, larger = total // 2, total - total // 2
    return (smaller, larger) if named == "SAME_UPPER" else (larger, smaller)


def _explicit(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    attributes = attributes_of(node)
    if attributes.get("auto_pad", "NOTSET") == "NOTSET":
        return None
    shape = graph.shape(node.input[0])
    kernel = attributes.get("kernel_shape")
    if kernel is None:
        weights = graph.shape(node.input[1]) if len(node.input) > 1 else None
        kernel = weights[2:] if weights else None
    if shape is None or kernel is None:
        return None
    windows = windows_of(shape[2:], kernel, attributes)
    result = onnx.NodeProto()
    result.CopyFrom(node)
    del result.attribute[:]
    result.attribute.extend(a for a in node.attribute if a.name not in ("auto_pad", "pads"))
    pads = [*(window.before for window in windows), *(window.after for window in windows)]
    result.attribute.append(helper.make_attribute("pads", pads))
    return [result]


REWRITES: dict[Key, Rewrite] = {("", name): _explicit for name in ("AveragePool", "Conv", "LpPool", "MaxPool")}
