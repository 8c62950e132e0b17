"""A model prepared and checked, before anything is spent: by the planner and by every job in the same way."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunefarm_coordinator.compute.messages import (
    Checked,
    CheckModel,
    ComputeFailed,
    ComputeLost,
    PreparedSummary,
    PrepareModel,
    Reference,
)
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.library import as_sent
from tunefarm_coordinator.control.shape_sets import PreparedSets, joined
from tunefarm_coordinator.errors import InvalidInput, TunefarmError, Unavailable

# Input sets on which the model must answer as ONNX Runtime does, before tuning and after.
REFERENCE_SEEDS = (0, 1, 2)
UNTUNABLE = "no kernel of this model is worth trials: it is packaged at once, with default schedules"

Ask = Callable[[Any], Awaitable[Any]]


def reference_of(sheet: JobSheet, summary: PreparedSummary, at: int) -> Reference:
    """The job's inputs, and what answers them, for a shape set prepared as `summary` says."""
    path, shapes = model_of(sheet, summary), sheet.shape_sets[at]
    return Reference(path, shapes, REFERENCE_SEEDS, sheet.values, sheet.spec.without_reference)


def model_of(sheet: JobSheet, summary: PreparedSummary) -> Path:
    """The ONNX file of what was prepared: the user's, or the network that was cut out of it."""
    return summary.network or sheet.model


async def prepare(ask: Ask, sheet: JobSheet, folders: Folders) -> PreparedSets:
    """The model prepared for each shape set, and its untuned builds found right.

    `ask` asks the compute child. Raises what it raises; InvalidInput for a model that can't be served.
    """
    sets = []
    for at, preparation in enumerate(sheet.preparations(folders)):
        try:
            sets.append(await _prepared(ask, sheet, preparation, at))
        except InvalidInput as error:
            raise InvalidInput(sheet.of_set(at) + str(error)) from error
    if not any(one.tasks for one in sets):
        sets[0] = replace(sets[0], notes=(*sets[0].notes, UNTUNABLE))
    return joined(sets)


async def prepare_for_user(ask: Ask, sheet: JobSheet, folders: Folders) -> PreparedSets:
    """As `prepare`, for somebody who waits for the answer. Raises InvalidInput, Unavailable (try again) and
    TunefarmError."""
    with told_to_user(sheet.model, "the model could not be prepared"):
        return await prepare(ask, sheet, folders)


@contextlib.contextmanager
def told_to_user(model: Path, what: str) -> Iterator[None]:
    """Errors of the compute child as its caller's user should read them. `what`: what did not come about."""
    try:
        yield
    except ComputeLost as error:
        raise Unavailable(f"{what} now, try again: {error}") from error
    except ComputeFailed as error:
        raise TunefarmError(f"{what}: {as_sent(str(error), model)}") from error
    except InvalidInput as error:
        raise InvalidInput(as_sent(str(error), model)) from error


async def _prepared(ask: Ask, sheet: JobSheet, preparation: PrepareModel, at: int) -> PreparedSummary:
    summary: PreparedSummary = await ask(preparation)
    checked: Checked = await ask(CheckModel(preparation.out_dir, reference_of(sheet, summary, at)))
    return replace(summary, bounds=checked.bounds, notes=(*summary.notes, *checked.notes))
