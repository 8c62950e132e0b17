"""What model workers do: the model pipeline's functions in terms of the messages. Imports TVM."""

import io
import shutil
import time
from statistics import median
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from tunefarm_coordinator.compute.messages import (
    AppendDatabase,
    Expected,
    ExpectedOf,
    Package,
    Packaged,
    PreparedSummary,
    PrepareModel,
    ReadDatabase,
    Reference,
    Tensor,
)
from tunefarm_coordinator.engines import module_text
from tunefarm_coordinator.engines.build import check_toolchain
from tunefarm_coordinator.engines.engine import template_name
from tunefarm_coordinator.engines.gpu.contraction import is_marked
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.best_reference import best_answers
from tunefarm_coordinator.models.database import append
from tunefarm_coordinator.models.database_reading import read_slice
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.expected import expected_outputs
from tunefarm_coordinator.models.footprint import footprint_note
from tunefarm_coordinator.models.foreign import FOREIGN_FAILURES
from tunefarm_coordinator.models.input_sets import input_sets
from tunefarm_coordinator.models.log_lines import ReadSlice, Written
from tunefarm_coordinator.models.matching import tolerance
from tunefarm_coordinator.models.onnx_graph import with_sizes
from tunefarm_coordinator.models.package import LIBRARY_FILE, MANIFEST_FILE
from tunefarm_coordinator.models.package_sets import build_packages
from tunefarm_coordinator.models.prepare import PreparedModel, TensorSpec, load_prepared, prepare
from tunefarm_coordinator.models.refused_inputs import freeze_hint
from tunefarm_coordinator.models.target import resolve_target
from tunefarm_coordinator.models.tasks import PIPELINE_VERSION
from tunefarm_coordinator.models.untuned_check import UNTUNED_FOLDER
from tunefarm_proto.arrays import Archive, npz_bytes


def prepare_model(request: PrepareModel) -> PreparedSummary:
    """See `PrepareModel`. A folder that holds what is asked for is taken as it is."""
    target = resolve_target(request.target)
    check_toolchain(target)
    prepared = _prepared_before(request, target)
    if prepared is None:
        prepared = _prepared_now(request, target)
    return PreparedSummary(
        target=prepared.target,
        layout=prepared.layout,
        pipeline_version=prepared.pipeline_version,
        tasks=prepared.tasks,
        baselines={task.workload: default_trace(task.module, prepared.target) for task in prepared.tasks},
        inputs=tuple(_tensor(spec) for spec in prepared.inputs),
        outputs=tuple(_tensor(spec) for spec in prepared.outputs),
        templates=_templates(prepared) if request.templates else {},
        memory=prepared.memory,
        notes=(*prepared.notes, *((note,) if (note := footprint_note(prepared.memory)) else ())),
        network=prepared.network,
        vector_functions=prepared.vector_functions,
    )


def expected_of(request: ExpectedOf) -> Expected:
    """See `ExpectedOf`. One tolerance serves all outputs of a kernel: that of the least exact."""
    blobs = tuple(expected_outputs(request.task, seed) for seed in request.seeds)
    tf32 = is_marked(module_text.load(request.task.module))
    with np.load(io.BytesIO(blobs[0])) as opened:
        arrays = Archive(opened)
        bounds = [tolerance(arrays[name].dtype.name, tf32=tf32) for name in arrays if name.startswith("out")]
    rtol, atol = max(bound.relative for bound in bounds), max(bound.absolute for bound in bounds)
    return Expected(blobs, rtol, atol)


def package_model(request: Package) -> Packaged:
    """See `Package`. Weights lie inside the library. The untuned package is there since the model was checked."""
    started = time.monotonic()
    if not (request.traces or request.manifest) and _copied(request):
        return Packaged(request.out_dir / LIBRARY_FILE, None, time.monotonic() - started)
    records = [(workload, trace, median(samples)) for workload, trace, samples in request.records]
    packaged = build_packages(request.prepared, request.traces, request.out_dir, request.manifest, records)
    return Packaged(packaged.library, None, time.monotonic() - started)


def reference_of(request: Reference) -> tuple[bytes, bytes]:
    """See `Reference`."""
    sets = input_sets(request.model, request.shapes, request.values, request.seeds)
    best = best_answers(request.model, request.shapes, sets, dispensable=request.dispensable)
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for number, given in enumerate(sets):
        inputs |= {f"s{number}_in{name}": value for name, value in given.items()}
    for number, answer in enumerate(best.outputs):
        outputs |= {f"s{number}_out{index}": value for index, value in enumerate(answer)}
    return npz_bytes(inputs), npz_bytes(outputs)


def read_database(request: ReadDatabase) -> ReadSlice:
    """See `ReadDatabase`."""
    return read_slice(
        request.workloads,
        request.records,
        offset=request.offset,
        line=request.line,
        count=request.count,
        longest_seconds=request.longest_seconds,
    )


def append_database(request: AppendDatabase) -> Written:
    """See `AppendDatabase`."""
    request.folder.mkdir(parents=True, exist_ok=True)
    return append(request.folder, request.target, request.modules, request.records, request.before)


def _copied(request: Package) -> bool:
    """Whether the untuned package of the model's one shape set could be copied."""
    checked = request.prepared[0] / UNTUNED_FOLDER
    if len(request.prepared) > 1 or not (checked / MANIFEST_FILE).exists():
        return False
    shutil.copytree(checked, request.out_dir, dirs_exist_ok=True)
    return True


def _prepared_now(request: PrepareModel, target: str) -> PreparedModel:
    try:
        return prepare(
            request.model,
            request.shapes,
            target,
            request.out_dir,
            allow_tf32=request.allow_tf32,
            exact_math=request.exact_math,
        )
    except (InvalidInput, *TVM_ERRORS) as error:
        hint = _freeze_hint(request, str(error))
        if hint is None:
            raise
        said = str(error) if isinstance(error, InvalidInput) else f"{request.model}: {first_line(error)}"
        raise InvalidInput(f"{said}; {hint}") from error


def _freeze_hint(request: PrepareModel, message: str) -> str | None:
    try:
        model = onnx.load(request.model, load_external_data=False)
        return freeze_hint(with_sizes(model, request.shapes), message)
    except (OSError, DecodeError, *FOREIGN_FAILURES):  # no model, or one that has no such graph: there is no hint
        return None


def _prepared_before(request: PrepareModel, target: str) -> PreparedModel | None:
    try:
        prepared = load_prepared(request.out_dir)
    except (OSError, ValueError, KeyError, TypeError):  # none there, or one that was never completed
        return None
    wanted = {name: tuple(shape) for name, shape in request.shapes.items()}
    same = (
        prepared.target == target
        and prepared.allow_tf32 == request.allow_tf32
        and prepared.exact_math == request.exact_math
        and prepared.pipeline_version == PIPELINE_VERSION
        and {spec.name: spec.shape for spec in prepared.inputs} == wanted
    )
    return prepared if same else None


def _templates(prepared: PreparedModel) -> dict[str, str]:
    found = {task.workload: template_name(task.module, prepared.target) for task in prepared.tasks}
    return {workload: name for workload, name in found.items() if name is not None}


def _tensor(spec: TensorSpec) -> Tensor:
    return Tensor(spec.name, spec.shape, spec.dtype)
