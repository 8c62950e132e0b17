"""Which inputs' values a refusal comes from, and what to do about it. Sizes don't count, they are fixed."""

import math
import re
import shlex

import onnx

from tunefarm_coordinator.models.small_constants import KnownGraph, known_graph, subgraphs

_WHOLE = "iub"


def inputs_behind(known: KnownGraph, name: str, inputs: set[str]) -> list[str]:
    """The inputs, of those named, whose values decide the tensor `name`, nearest first."""
    found: list[str] = []
    seen, waiting = {name}, [name]
    while waiting:
        at = waiting.pop(0)
        if at in inputs:
            found.append(at)
        producer = known.producers.get(at)
        if producer is None or producer.op_type in ("Shape", "Size") or at in known.values:
            continue
        new = [each for each in producer.input if each and each not in seen]
        seen.update(new)
        waiting += new
    return found


def suspects(model: onnx.ModelProto, message: str) -> list[str]:
    """The inputs whose values may be why ONNX Runtime failed with `message`: those that reach the node which it names,
    integers and few numbers rather than data; all inputs where it names none."""
    known = known_graph(model)
    initializers = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in initializers]
    likely = {value.name for value in values if _is_whole(value) or _is_small(value)}
    node = _named_node(known, message)
    behind: list[str] = []
    for name in node.input if node is not None else ():
        behind += [each for each in inputs_behind(known, name, {value.name for value in values}) if each not in behind]
    behind = behind or [value.name for value in values]
    return [name for name in behind if name in likely] or behind


# What a node takes from the values of an operand, and can't be compiled without knowing.
_SHAPE, _AXES, _SIZES = "its shape", "its axes", "its sizes"
_SHAPING: dict[str, dict[int, str]] = {
    "Reshape": {1: _SHAPE},
    "Expand": {1: _SHAPE},
    "ConstantOfShape": {0: _SHAPE},
    "Tile": {1: "its repeats"},
    "Slice": {1: "its starts", 2: "its ends", 3: _AXES, 4: "its steps"},
    "Pad": {1: "its pads", 3: _AXES},
    "Resize": {2: "its scales", 3: _SIZES},
    "Upsample": {1: "its scales"},
    "Split": {1: _SIZES},
    "Range": {0: "its start", 1: "its limit", 2: "its step"},
    "TopK": {1: "its k"},
    "OneHot": {1: "its depth"},
    "CumSum": {1: "its axis"},
    "Trilu": {1: "its diagonal"},
    "CenterCropPad": {1: _SHAPE},
    "Col2Im": {1: _SIZES, 2: _SIZES},
    "MaxUnpool": {2: _SHAPE},
    "AffineGrid": {1: _SIZES},
    "DFT": {1: "its length", 2: "its axis"},
    "STFT": {1: "its step", 3: "its length"},
    "Loop": {0: "its count"},
    "If": {0: "its condition"},
    "NonMaxSuppression": {2: "its count"},
    **{name: {0: _SIZES} for name in ("BlackmanWindow", "HannWindow", "HammingWindow")},
    **{
        f"Reduce{kind}": {1: _AXES}
        for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
    **{name: {1: _AXES} for name in ("Squeeze", "Unsqueeze")},
    "Dropout": {2: "its mode"},
}
# Larger inputs are data; nobody would make a constant of them. Of floats few are anything else (scales, thresholds).
_MOST_INTEGERS, _MOST_FLOATS = 64, 8


def freeze_hint(model: onnx.ModelProto, message: str = "") -> str | None:
    """What to freeze where the graph's sizes depend on values of inputs: "Reshape at node n takes its shape from input
    's': fix it with --freeze s=VALUE". Of several, the node that `message` names; None where no small input is behind.
    `model`: inputs of static sizes."""
    known = known_graph(model)
    initializers = {tensor.name for tensor in model.graph.initializer}
    small = {value.name for value in model.graph.input if value.name not in initializers and _is_small(value)}
    hints = []
    for node in (node for graph in subgraphs(known.graph) for node in graph.node):
        for position, what in _SHAPING.get(node.op_type, {}).items():
            name = node.input[position] if position < len(node.input) else ""
            if not name or name in known.values:
                continue
            for behind in inputs_behind(known, name, small)[:1]:
                place = node.name or f"(output {', '.join(node.output)})"
                taken = f"{node.op_type} at node {place} takes {what} from input {behind!r}"
                hints.append((place in message, f"{taken}: fix it with --freeze {shlex.quote(behind)}=VALUE"))
    return max(hints, key=lambda hint: hint[0])[1] if hints else None


def _is_small(value: onnx.ValueInfoProto) -> bool:
    dims = value.type.tensor_type.shape.dim
    most = _MOST_INTEGERS if _is_whole(value) else _MOST_FLOATS
    return bool(math.prod(dim.dim_value for dim in dims) <= most)


def _named_node(known: KnownGraph, message: str) -> onnx.NodeProto | None:
    named = re.search(r"Name:'([^']*)'", message)
    if named is None:
        return None
    nodes = (node for graph in subgraphs(known.graph) for node in graph.node)
    return next((node for node in nodes if node.name == named[1]), None)


def _is_whole(value: onnx.ValueInfoProto) -> bool:
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).kind in _WHOLE
