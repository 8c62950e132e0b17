"""The check of a prepared model in terms of the messages, and its answer on disk. Imports TVM."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunefarm_coordinator.compute.check_desk import STEP_FILE
from tunefarm_coordinator.compute.messages import Checked, CheckModel, CheckPackage, Reference
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.best_reference import best_answers
from tunefarm_coordinator.models.compare import Bound
from tunefarm_coordinator.models.footprint import refusal_here
from tunefarm_coordinator.models.input_sets import input_sets
from tunefarm_coordinator.models.prepare import SUMMARY_FILE, PreparedModel, load_prepared
from tunefarm_coordinator.models.target import runs_here
from tunefarm_coordinator.models.untuned_check import Check, Say, check_unmeasured, check_untuned, fault_in_answers

# What was found of a model that is right, with a digest of what it was found of. A refusal is not kept: what refused it
# may be mended by the time that the model comes again.
RESULT_FILE = "checked.json"


def check_model(request: CheckModel) -> Checked:
    """See `CheckModel`."""
    known = _known(request)
    if known is None:
        known = _check(request)
        _write(request.prepared / RESULT_FILE, json.dumps({"asked": _digest(request), **asdict(known)}))
    return known


def check_package(request: CheckPackage) -> bool:
    """See `CheckPackage`."""
    prepared, asked = load_prepared(request.prepared), request.reference
    if not runs_here(prepared.target):
        return False
    sets = input_sets(asked.model, asked.shapes, asked.values, asked.seeds)
    best = best_answers(asked.model, asked.shapes, sets, dispensable=asked.dispensable)
    inputs = [list(given.values()) for given in sets]
    fault = fault_in_answers(prepared, request.library, asked.model, inputs, best.outputs, request.bounds)
    if fault:
        raise InvalidInput(
            f"{asked.model}: compiled with these schedules, the model does not answer as ONNX Runtime does: {fault}"
        )
    return True


def _check(request: CheckModel) -> Checked:
    steps, prepared = request.prepared / STEP_FILE, load_prepared(request.prepared)
    if refusal := refusal_here(prepared.memory):
        raise InvalidInput(f"{request.reference.model}: {refusal}")
    try:
        _write(steps, "ONNX Runtime ran it")
        checked = _checked(prepared, request.reference, lambda step: _write(steps, step))
    finally:
        steps.unlink(missing_ok=True)
    return Checked(checked.bounds, checked.notes)


def _checked(prepared: PreparedModel, asked: Reference, say: Say) -> Check:
    sets = input_sets(asked.model, asked.shapes, asked.values, asked.seeds)
    best = best_answers(asked.model, asked.shapes, sets, dispensable=asked.dispensable)
    inputs = [list(given.values()) for given in sets]
    if not best.note:
        return check_untuned(prepared, asked.model, inputs, best.outputs, say)
    check_unmeasured(prepared, asked.model, inputs, best.outputs, say)
    return Check((), (best.note,))


def _known(request: CheckModel) -> Checked | None:
    """What an earlier check with the same inputs found."""
    try:
        found: dict[str, Any] = json.loads((request.prepared / RESULT_FILE).read_text())
    except (OSError, ValueError):
        return None
    if found["asked"] != _digest(request):
        return None
    return Checked(tuple(Bound(**bound) for bound in found["bounds"]), tuple(found["notes"]))


def _digest(request: CheckModel) -> str:
    prepared = (request.prepared / SUMMARY_FILE).read_text()
    return hashlib.sha256(f"{request.reference!r}\n{prepared}".encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(path)
