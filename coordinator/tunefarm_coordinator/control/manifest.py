"""What a package's manifest says of what was asked for, whoever makes the package."""

import json
import platform
from typing import Any

from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.preparing import model_of
from tunefarm_coordinator.control.shape_sets import PreparedSets
from tunefarm_coordinator.models.onnx_file import read_signature
from tunefarm_coordinator.models.padding import equal_axes


def described(sheet: JobSheet, summary: PreparedSets) -> dict[str, Any]:
    """The model as it was prepared, and for what. The packager adds files, inputs, outputs and versions. Blocks: it
    reads the model."""
    changed = {"frozen_inputs": sorted(sheet.spec.frozen_inputs), "forced_inputs": sorted(sheet.spec.forced_inputs)}
    return {
        "model": sheet.model_name,
        "project": sheet.spec.project,
        "target": json.loads(summary.target),
        "layout": summary.layout,
        "pipeline_version": summary.pipeline_version,
        "coordinator_python": platform.python_version(),
        **_padding(sheet, summary),
        # Inputs of the user's file that the package does not have, or has with other sizes.
        **{name: inputs for name, inputs in changed.items() if inputs},
    }


def _padding(sheet: JobSheet, summary: PreparedSets) -> dict[str, Any]:
    """What run.py has to know where inputs are padded."""
    padding = dict(sheet.spec.input_padding)
    if not padding:
        return {}
    return {"padding": padding, "equal_axes": equal_axes(read_signature(model_of(sheet, summary.sets[0])), padding)}
