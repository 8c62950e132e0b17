"""The table of operators: all families in one. To add a family, enter its module here."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from tunefarm_coordinator.models.operators import (
    elementwise,
    integer_products,
    quantised_graphs,
    quantised_microsoft,
    quantize_linear,
    recurrent,
    resampling,
)
from tunefarm_coordinator.models.operators.family import Conversion, Key, Rewrite

FAMILIES: tuple[ModuleType, ...] = (
    elementwise,
    integer_products,
    quantised_graphs,
    quantised_microsoft,
    quantize_linear,
    recurrent,
    resampling,
)


def _joined(table: str) -> dict[Key, Any]:
    joined: dict[Key, Any] = {}
    for family in FAMILIES:
        entries: Mapping[Key, Any] = getattr(family, table, {})
        twice = joined.keys() & entries.keys()
        assert not twice, f"{family.__name__}: {table} of {twice} stand in another family too"
        joined |= entries
    return joined


REWRITES: Mapping[Key, Rewrite] = _joined("REWRITES")
CONVERSIONS: Mapping[Key, Conversion] = _joined("CONVERSIONS")
EXPANDED: frozenset[Key] = frozenset(key for family in FAMILIES for key in getattr(family, "EXPANDED", ()))
