"""From a prepared model and the traces of its kernels to a folder that runs (`package_sets`: from several).

    model.so                        the model, weights included; VM function `main` (and `main_by_kernel`: the same
                                    kernels called one by one, for whoever times them)
    tail.onnx                       where the end of the model can't be compiled: that end, for ONNX Runtime
    manifest.json                   inputs, outputs, target, versions, kernels; and what the caller adds
    run.py                          runs it; needs TVM's runtime and NumPy
    prepared_module.json            what plain TVM can compile, with or without the records
    weights.npz                     that module's parameters after the inputs
    database_workload.json          the records as a MetaSchedule JSON database
    database_tuning_record.json

Weights are prepacked here, on this machine, into the layout that each schedule asks for, and lie in the
library as constants: one file to send, and nothing that could be paired wrongly. (ResNet-50, 102 MB of
weights, 2 cores: 1.2 s more to package than with a parameter file, 0.3 s to load.)

Running it takes TVM's runtime alone (`TVM_USE_RUNTIME_LIB=1`). Over TVM RPC, with `remote` a session:

    remote.upload(bytearray(Path("model.so").read_bytes()), "unique-name.so")     # a path would stay open
    library = remote.load_module("unique-name.so")
    machine = tvm.runtime.vm.VirtualMachine(library, remote.cpu())
    machine.set_input("main", *[tvm.runtime.tensor(value, remote.cpu()) for value in inputs])
    machine.invoke_stateful("main")
    outputs = machine.get_outputs("main")        # one tensor, or a list of them
    machine.time_evaluator("invoke_stateful", remote.cpu(), number=1, repeat=10)("main")   # seconds
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.target import Target

from tunefarm_coordinator.engines import trace_text
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line
from tunefarm_coordinator.models.choices import decided_early
from tunefarm_coordinator.models.cpu_executable import build_for_cpu, link_model
from tunefarm_coordinator.models.database import TuningRecord, write_database
from tunefarm_coordinator.models.default_schedule import default_schedule
from tunefarm_coordinator.models.gpu_executable import ENTRY, ENTRY_BY_KERNEL, build_for_gpu
from tunefarm_coordinator.models.kernel_objects import KernelNotCompiled, KernelObjects
from tunefarm_coordinator.models.network import TAIL_FILE
from tunefarm_coordinator.models.packed_weights import with_weights
from tunefarm_coordinator.models.prepare import (
    MODULE_FILE,
    SUMMARY_FILE,
    WEIGHTS_FILE,
    PreparedModel,
    load_prepared,
)
from tunefarm_coordinator.models.tasks import PIPELINE_VERSION, normalized, workload_of

logger = logging.getLogger(__name__)

LIBRARY_FILE = "model.so"
# In a prepared model's folder.
OBJECTS_FOLDER = f"objects-{PIPELINE_VERSION}"
MANIFEST_FILE = "manifest.json"
# In a manifest: why a kernel has no schedule, by its function.
AS_WRITTEN = "as_written"
# What SplitLayoutRewritePreproc appends to the name of a kernel whose weights it lays out beforehand.
_PREPACKED = "_prepacked"
_RUN = Path(__file__).with_name("packaged_run.py")


@dataclass(frozen=True)
class PackagedModel:
    """A package on disk.

    Attributes:
        directory: the folder; `library` is the model in it.
        tuned: workloads that run with the trace that was given.
        untuned: workloads that run with the default schedule.
    """

    directory: Path
    library: Path
    tuned: tuple[str, ...]
    untuned: tuple[str, ...]


def build_package(
    prepared_dir: str | Path,
    traces: dict[str, str],
    out_dir: str | Path,
    manifest: dict[str, Any] | None = None,
    records: Sequence[TuningRecord] = (),
) -> PackagedModel:
    """Package the model in `prepared_dir` into `out_dir`.

    Args:
        traces: workload to trace text; a kernel without one, or whose trace no longer fits (a warning says
            so), gets the default schedule.
        manifest: written into manifest.json over what is found out here.
        records: for the MetaSchedule database, as (workload, trace, seconds).

    Raises:
        BuildError: no compiler for the target's kind of device.
        linker.LinkError: no linker for the target, or it failed.
        RuntimeError: TVM can't compile the model.
        OSError: `out_dir` can't be written.
    """
    prepared, out_dir = load_prepared(prepared_dir), Path(out_dir)
    packaged, facts = build_library(prepared, traces, out_dir)
    complete_package(out_dir, [prepared], records, {**facts, **(manifest or {})})
    return packaged


def build_library(
    prepared: PreparedModel, traces: dict[str, str], out_dir: Path
) -> tuple[PackagedModel, dict[str, Any]]:
    """Library, prepared module and weights of a model, and what its manifest says of it. Raises as `build_package`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    library = out_dir / LIBRARY_FILE
    compiled = _compile(prepared, traces, library)
    for name in (MODULE_FILE, WEIGHTS_FILE):
        shutil.copyfile(prepared.directory / name, out_dir / name)
    if prepared.tail is not None:
        shutil.copyfile(prepared.tail, out_dir / TAIL_FILE)
    facts = {**_facts(prepared, compiled), "functions": compiled.functions}
    return PackagedModel(out_dir, library, tuple(compiled.tuned), tuple(compiled.untuned)), facts


def complete_package(
    out_dir: Path, prepared: Sequence[PreparedModel], records: Sequence[TuningRecord], manifest: dict[str, Any]
) -> None:
    """What a package has once, however many models it holds: records, run.py and, last, the manifest."""
    tasks = [task for model in prepared for task in model.tasks]
    write_database(out_dir, prepared[0].target, tasks, records)
    shutil.copyfile(_RUN, out_dir / "run.py")
    (out_dir / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")


def build_untuned(prepared_dir: str | Path, out_dir: str | Path) -> PackagedModel:
    """The package with default schedules throughout: the baseline. Raises as `build_package` does."""
    return build_package(prepared_dir, {}, out_dir)


def build_untuned_for(prepared_dir: str | Path, target_json: str, library: Path) -> None:
    """The library of a model without schedules of its own, for a CPU that is not the one that it was prepared for.
    Raises as `build_package` does."""
    _compile(replace(load_prepared(prepared_dir), target=target_json), {}, library)


@dataclass(frozen=True)
class _Compiled:
    """Of a library that was written: workloads with their own trace, workloads without; by name of the function that
    runs it, the workload; and why what runs as it is written does so, where that is no choice."""

    tuned: list[str]
    untuned: list[str]
    functions: dict[str, str]
    as_written: dict[str, str]


def _compile(prepared: PreparedModel, traces: dict[str, str], library: Path) -> _Compiled:
    """A CPU's schedule that TVM can't compile gives way to the default one, and that to the kernel as it is written:
    one of them must not cost the model. (A GPU's kernels are compiled together.) Raises as `build_package`."""
    traces, plain, as_written = dict(traces), set[str](), dict[str, str]()
    while True:
        module, tuned, untuned, kernels = _scheduled(prepared.module(), traces, prepared.target, plain)
        module = with_weights(module, prepared, _objects(prepared))
        functions = _functions(module, kernels)
        try:
            _export(module, prepared, library)
        except KernelNotCompiled as error:
            workload = functions.get(error.kernel)
            if workload is None or workload in plain:
                raise
            logger.warning("another schedule instead: %s", error)
            if traces.pop(workload, None) is None:
                plain.add(workload)
                as_written[error.kernel.removesuffix(_PREPACKED)] = error.reason
            continue
        return _Compiled(tuned, untuned, functions, as_written)


def _scheduled(
    module: Any, traces: dict[str, str], target_json: str, plain: Collection[str]
) -> tuple[Any, list[str], list[str], dict[str, str]]:
    """(module with every kernel scheduled but the `plain` workloads', workloads with their own trace, workloads with
    the default, workload by name of the kernel's function)."""
    # Before scheduling: afterwards a kernel that is but a view could no longer be told from a copy.
    views = relax.transform.RewriteDataflowReshape()(module)
    module = relax.transform.DeadCodeElimination()(views)
    tuned: list[str] = []
    untuned: list[str] = []
    kernels: dict[str, str] = {}
    for gvar, function in module.functions.items():
        if not isinstance(function, tvm.tirx.PrimFunc):
            continue
        kernel = normalized(function)
        workload = workload_of(kernel)
        kernels[str(gvar.name_hint)] = workload
        schedule = _replayed(kernel, workload, traces.get(workload), target_json)
        (untuned if schedule is None else tuned).append(workload)
        if schedule is None and workload not in plain:
            schedule = _default(kernel, target_json)
        if schedule is not None:
            body = schedule.mod["main"]
            scheduled = tvm.tirx.PrimFunc(body.params, body.body, body.ret_type, function.attrs)
            module[gvar] = scheduled.with_attr("tirx.is_scheduled", True)
    return module, tuned, untuned, kernels


def _functions(module: Any, kernels: dict[str, str]) -> dict[str, str]:
    """Workload by name of the function that runs it: one whose weights were laid out has got a new name."""
    names = [str(gvar.name_hint) for gvar in module.get_global_vars()]
    found = {name: kernels.get(name.removesuffix(_PREPACKED)) for name in names}
    return {name: workload for name, workload in found.items() if workload is not None}


def _replayed(kernel: Any, workload: str, trace: str | None, target_json: str) -> Any | None:
    if trace is None:
        return None
    try:
        return trace_text.replay(kernel, trace, Target(target_json))
    except TVM_ERRORS as error:
        logger.warning("the trace of %s no longer fits, default schedule instead: %s", workload, first_line(error))
        return None


def _default(kernel: Any, target_json: str) -> Any | None:
    """None for a kernel that comes scheduled from its legalisation, or that no schedule can be made of."""
    if kernel["main"].attrs.get("tirx.is_scheduled"):
        return None
    try:
        return default_schedule(kernel, target_json)
    except TVM_ERRORS as error:
        logger.warning("no default schedule, the kernel stays as it is: %s", first_line(error))
        return None


def _export(module: Any, prepared: PreparedModel, library: Path) -> None:
    target = Target(prepared.target)
    if target.kind.name == "cuda":
        executable = build_for_gpu(module, target)
    else:
        executable = build_for_cpu(decided_early(module), target, _objects(prepared))
    link_model(executable, target, library)


def _objects(prepared: PreparedModel) -> KernelObjects:
    """What was compiled of the model's kernels before, by this job or others; nothing that was prepared otherwise."""
    how = hashlib.sha256((prepared.directory / SUMMARY_FILE).read_bytes()).hexdigest()
    return KernelObjects(prepared.directory / OBJECTS_FOLDER, how)


def _facts(prepared: PreparedModel, compiled: _Compiled) -> dict[str, Any]:
    return {
        "library": LIBRARY_FILE,
        "entries": {"whole": ENTRY, "by_kernel": ENTRY_BY_KERNEL},
        "inputs": [asdict(spec) for spec in prepared.inputs],
        "outputs": [asdict(spec) for spec in prepared.outputs],
        "target": json.loads(prepared.target),
        "layout": prepared.layout,
        "precision": {
            "tf32": prepared.allow_tf32,
            "exact_math": prepared.exact_math,
            "vector_functions": list(prepared.vector_functions),
        },
        "pipeline_version": prepared.pipeline_version,
        "versions": {"tvm": tvm.__version__},
        "kernels": {"tuned": len(compiled.tuned), "untuned": len(compiled.untuned)},
        "tasks": [
            {"workload": t.workload, "name": t.name, "weight": t.weight, "tuned": t.workload in compiled.tuned}
            for t in prepared.tasks
        ],
        **({AS_WRITTEN: compiled.as_written} if compiled.as_written else {}),
        **({} if prepared.tail is None else {"tail": {"file": TAIL_FILE, "outputs": list(prepared.whole_outputs)}}),
    }
