"""A model prepared and checked, before anything is spent: by the planner and by every job in the same way."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tunefarm_coordinator.compute.messages import Checked, CheckModel, PreparedSummary, PrepareModel, Reference
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.shape_sets import PreparedSets, joined

# Input sets on which the model must answer as ONNX Runtime does, before tuning and after.
REFERENCE_SEEDS = (0, 1, 2)
UNTUNABLE = "no kernel of this model is worth trials: it is packaged at once, with default schedules"

Ask = Callable[[Any], Awaitable[Any]]


def references_of(sheet: JobSheet) -> tuple[Reference, ...]:
    """The job's inputs, and the model that answers them, for each shape set."""
    return tuple(
        Reference(sheet.model, shapes, REFERENCE_SEEDS, sheet.values, sheet.spec.without_reference)
        for shapes in sheet.shape_sets
    )


async def prepare(ask: Ask, sheet: JobSheet, folders: Folders) -> PreparedSets:
    """The model prepared for each shape set, and its untuned builds found right.

    `ask` asks the compute child. Raises what it raises; InvalidInput for a model that can't be served.
    """
    wanted = zip(sheet.preparations(folders), references_of(sheet), strict=True)
    sets = [await _prepared(ask, preparation, reference) for preparation, reference in wanted]
    if not any(one.tasks for one in sets):
        sets[0] = replace(sets[0], notes=(*sets[0].notes, UNTUNABLE))
    return joined(sets)


async def _prepared(ask: Ask, preparation: PrepareModel, reference: Reference) -> PreparedSummary:
    summary: PreparedSummary = await ask(preparation)
    checked: Checked = await ask(CheckModel(preparation.out_dir, reference))
    return replace(summary, bounds=checked.bounds, notes=(*summary.notes, *checked.notes))
