"""What of a user's model is compiled: all of it, or the network before an end that stays ONNX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import inliner

from tunefarm_coordinator.models.cutting import CutModel, NoCut, cut
from tunefarm_coordinator.models.importer import import_onnx
from tunefarm_coordinator.models.onnx_graph import Unimportable, load_static
from tunefarm_coordinator.models.operators.family import key_of
from tunefarm_coordinator.models.refused_inputs import freeze_hint

# In a prepared model's folder; the network has one of its own, since weights may lie beside it.
NETWORK_FILE = "network/network.onnx"
TAIL_FILE = "tail.onnx"
# Each try knows one more node that can't be imported.
_MOST_CUTS = 4
# Beyond this a file of protocol buffers can't hold the weights itself.
_LARGE = 1 << 30


@dataclass(frozen=True)
class Network:
    """The part of a model that is compiled.

    Attributes:
        module: Relax, as `import_onnx` gives it.
        path: its ONNX file: the user's own, or the one that was cut out of it.
        tail: the ONNX file of the rest; None where nothing was cut off.
        notes: what the user should know.
    """

    module: Any
    path: Path
    tail: Path | None = None
    notes: tuple[str, ...] = ()


def imported_network(path: Path, shapes: dict[str, tuple[int, ...]], folder: Path) -> Network:
    """The network of the model at `path`; what is cut is written into `folder`.

    Raises:
        InvalidInput: the model can't be imported, and can't be cut where it can't be.
    """
    try:
        return Network(import_onnx(path, shapes), path)
    except Unimportable as error:
        return _shortened(path, shapes, folder, error)


def _shortened(path: Path, shapes: dict[str, tuple[int, ...]], folder: Path, error: Unimportable) -> Network:
    nodes: list[onnx.NodeProto] = []
    for _ in range(_MOST_CUTS):
        if not error.nodes:
            break
        nodes += error.nodes
        parts = _cut(path, shapes, nodes, error)
        _write(parts, folder)
        try:
            module = import_onnx(folder / NETWORK_FILE, shapes)
        except Unimportable as another:
            error = another
        else:
            # Where the cut comes from an input's values, the user may prefer a constant.
            return _cut_network(module, parts, folder, freeze_hint(load_static(path, shapes), str(error)))
    raise error


def _cut(path: Path, shapes: dict[str, tuple[int, ...]], nodes: list[onnx.NodeProto], error: Unimportable) -> CutModel:
    model = load_static(path, shapes)
    if model.functions:
        model = inliner.inline_local_functions(model)
    # By then the graph was rewritten: a node that is no longer the user's own is found by its operator.
    own = {name for node in model.graph.node for name in node.output}
    outputs = {name for node in nodes for name in node.output if name in own}
    operators = {key_of(node) for node in nodes if not own & set(node.output)}
    try:
        return cut(model, lambda node: bool(outputs & set(node.output)) or key_of(node) in operators)
    except NoCut as reason:
        why = f" (it can't be left to ONNX Runtime: {reason})" if str(reason) else ""
        raise Unimportable(f"{error}{why}", error.nodes) from error


def _write(parts: CutModel, folder: Path) -> None:
    path = folder / NETWORK_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    large = parts.network.ByteSize() > _LARGE
    onnx.save(parts.network, path, save_as_external_data=large, location="weights.bin")
    onnx.save(parts.tail, folder / TAIL_FILE)


def _cut_network(module: Any, parts: CutModel, folder: Path, hint: str | None) -> Network:
    note = (
        f"what {_listed(parts.places)} and all after it give can't be compiled: the network before is tuned, "
        "ONNX Runtime runs the rest, and the package holds both"
    )
    notes = (note,) if hint is None else (note, f"{hint}, and it is compiled too")
    return Network(module, folder / NETWORK_FILE, folder / TAIL_FILE, notes)


def _listed(places: tuple[str, ...]) -> str:
    return places[0] if len(places) == 1 else f"{', '.join(places[:-1])} and {places[-1]}"
