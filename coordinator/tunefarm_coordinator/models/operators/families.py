"""The table of operators: all families in one. To add a family, enter its module here."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import onnx

from tunefarm_coordinator.models.operators import (
    control,
    convolution,
    elementwise,
    fused,
    gates,
    integer_products,
    microsoft,
    narrow_types,
    normalisation,
    numbers,
    placing,
    pooling,
    quantised_graphs,
    quantised_microsoft,
    quantize_linear,
    recurrent,
    reductions,
    resampling,
    slicing,
    spectral,
    windows,
    written_out,
)
from tunefarm_coordinator.models.operators.family import Conversion, Key, Rewrite
from tunefarm_coordinator.models.operators.graph import Graph

FAMILIES: tuple[ModuleType, ...] = (
    control,
    convolution,
    elementwise,
    fused,
    gates,
    integer_products,
    narrow_types,
    microsoft,
    normalisation,
    numbers,
    placing,
    pooling,
    quantised_graphs,
    quantised_microsoft,
    quantize_linear,
    recurrent,
    reductions,
    resampling,
    slicing,
    spectral,
    windows,
    written_out,
)


def _rewrites() -> dict[Key, Rewrite]:
    """Several families may take up an operator; the first that does so has it."""
    found: dict[Key, list[Rewrite]] = {}
    for family in FAMILIES:
        for key, rewrite in getattr(family, "REWRITES", {}).items():
            found.setdefault(key, []).append(rewrite)
    return {key: _first_of(tuple(rewrites)) for key, rewrites in found.items()}


def _first_of(rewrites: tuple[Rewrite, ...]) -> Rewrite:
    def rewrite(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
        answers = (each(node, graph) for each in rewrites)
        return next((answer for answer in answers if answer is not None), None)

    return rewrites[0] if len(rewrites) == 1 else rewrite


def _joined(table: str) -> dict[Key, Any]:
    joined: dict[Key, Any] = {}
    for family in FAMILIES:
        entries: Mapping[Key, Any] = getattr(family, table, {})
        twice = joined.keys() & entries.keys()
        assert not twice, f"{family.__name__}: {table} of {twice} stand in another family too"
        joined |= entries
    return joined


REWRITES: Mapping[Key, Rewrite] = _rewrites()
CONVERSIONS: Mapping[Key, Conversion] = _joined("CONVERSIONS")
EXPANDED: frozenset[Key] = frozenset(key for family in FAMILIES for key in getattr(family, "EXPANDED", ()))
