"""From a prepared model and the traces of its kernels to a folder that runs (`package_sets`: from several).

    model.so                        the model, weights included; VM function `main`
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

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import relax
from tvm.target import Target

from tunefarm_coordinator.engines import linker, trace_text
from tunefarm_coordinator.engines.build import host_triple
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line
from tunefarm_coordinator.models.database import TuningRecord, write_database
from tunefarm_coordinator.models.default_schedule import default_schedule
from tunefarm_coordinator.models.gpu_executable import ENTRY, ENTRY_BY_KERNEL, build_for_gpu
from tunefarm_coordinator.models.layout_split import split_layouts
from tunefarm_coordinator.models.loops import lay_out_once
from tunefarm_coordinator.models.network import TAIL_FILE
from tunefarm_coordinator.models.prepare import (
    MODULE_FILE,
    WEIGHTS_FILE,
    PreparedModel,
    load_prepared,
)
from tunefarm_coordinator.models.target import host_target
from tunefarm_coordinator.models.tasks import normalized, workload_of

logger = logging.getLogger(__name__)

LIBRARY_FILE = "model.so"
MANIFEST_FILE = "manifest.json"
_TRANSFORM = "main_transform_params"
# What SplitLayoutRewritePreproc appends to the name of a kernel whose weights it lays out beforehand.
_PREPACKED = "_prepacked"
_NO_KERNEL = "tunefarm_no_kernel"
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
    scheduled, tuned, untuned, kernels = _scheduled(prepared.module(), traces, prepared.target)
    library = out_dir / LIBRARY_FILE
    module = _with_weights(scheduled, prepared)
    _export(module, prepared.target, library)
    for name in (MODULE_FILE, WEIGHTS_FILE):
        shutil.copyfile(prepared.directory / name, out_dir / name)
    if prepared.tail is not None:
        shutil.copyfile(prepared.tail, out_dir / TAIL_FILE)
    facts = {**_facts(prepared, tuned, untuned), "functions": _functions(module, kernels)}
    return PackagedModel(out_dir, library, tuple(tuned), tuple(untuned)), facts


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
    prepared = replace(load_prepared(prepared_dir), target=target_json)
    scheduled, *_ = _scheduled(prepared.module(), {}, target_json)
    _export(_with_weights(scheduled, prepared), target_json, library)


def _scheduled(
    module: Any, traces: dict[str, str], target_json: str
) -> tuple[Any, list[str], list[str], dict[str, str]]:
    """(module with every kernel scheduled, workloads with their own trace, workloads with the default, workload by
    name of the kernel's function)."""
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
        if schedule is None:
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


def _with_weights(module: Any, prepared: PreparedModel) -> Any:
    """The module with its weights as constants, in the layouts that its kernels read."""
    module, weights = _without_returned(module, prepared.weights(), len(prepared.inputs))
    # Of a model without inputs nothing would be left to run.
    if weights and prepared.inputs:
        target = Target(prepared.target)
        with target:
            if target.kind.name != "cuda":
                # Schedules for GPUs read weights as they lie.
                module = lay_out_once(split_layouts(module))
            module = relax.transform.LiftTransformParams()(module)
        weights = prepacked(module, weights)
    parameters = module["main"].params[len(prepared.inputs) :]
    if parameters:
        module = relax.transform.BindParams("main", dict(zip(parameters, weights, strict=True)))(module)
    return relax.transform.DeadCodeElimination(["main"])(module)


def _without_returned(module: Any, weights: Sequence[Any], inputs: int) -> tuple[Any, Sequence[Any]]:
    """(module with the weights that it gives back as constants, the others): TVM's lifting forgets what no kernel
    reads."""
    main = module["main"]
    result = main.body.body
    bound = {binding.var: binding.value for block in main.body.blocks for binding in block.bindings}
    result = bound.get(result, result)
    given = list(result.fields) if isinstance(result, relax.Tuple) else [result]
    pairs = list(zip(main.params[inputs:], weights, strict=True))
    returned = {parameter: weight for parameter, weight in pairs if any(parameter.same_as(it) for it in given)}
    if not returned:
        return module, weights
    kept = [weight for parameter, weight in pairs if parameter not in returned]
    return relax.transform.BindParams("main", returned)(module), kept


def prepacked(module: Any, weights: Sequence[NDArray[Any]]) -> list[Any]:
    """What `main_transform_params` makes of the weights, computed on this machine."""
    # `main` has to go first, or its kernels would be kept and compiled as well.
    host_module = tvm.IRModule({g: f for g, f in module.functions.items() if g.name_hint != "main"})
    host_module = relax.transform.DeadCodeElimination([_TRANSFORM])(host_module)
    executable = relax.build(host_module, target=Target(host_target()))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return list(machine[_TRANSFORM]([tvm.runtime.tensor(weight) for weight in weights]))


def _export(module: Any, target_json: str, library: Path) -> None:
    target = Target(target_json)
    if not any(isinstance(function, tvm.tirx.PrimFunc) for function in module.functions.values()):
        # Inputs that are the outputs: without any code TVM writes C, which a linker can't read.
        module[_NO_KERNEL] = tvm.tirx.PrimFunc([], tvm.tirx.Evaluate(0)).with_attr("global_symbol", _NO_KERNEL)
    executable = build_for_gpu(module, target) if target.kind.name == "cuda" else relax.build(module, target=target)
    triple = host_triple(target)

    def link(output: str, objects: list[str], **_: Any) -> None:
        linker.link([Path(path) for path in objects], Path(output), triple)

    executable.export_library(str(library), fcompile=link)


def _entry_by_kernel(target_json: str) -> str:
    """The function in which the model's kernels can be timed one by one."""
    return ENTRY_BY_KERNEL if Target(target_json).kind.name == "cuda" else ENTRY


def _facts(prepared: PreparedModel, tuned: list[str], untuned: list[str]) -> dict[str, Any]:
    return {
        "library": LIBRARY_FILE,
        "entries": {"whole": ENTRY, "by_kernel": _entry_by_kernel(prepared.target)},
        "inputs": [asdict(spec) for spec in prepared.inputs],
        "outputs": [asdict(spec) for spec in prepared.outputs],
        "target": json.loads(prepared.target),
        "layout": prepared.layout,
        "precision": {"tf32": prepared.allow_tf32},
        "pipeline_version": prepared.pipeline_version,
        "versions": {"tvm": tvm.__version__},
        "kernels": {"tuned": len(tuned), "untuned": len(untuned)},
        "tasks": [
            {"workload": t.workload, "name": t.name, "weight": t.weight, "tuned": t.workload in tuned}
            for t in prepared.tasks
        ],
        **({} if prepared.tail is None else {"tail": {"file": TAIL_FILE, "outputs": list(prepared.whole_outputs)}}),
    }
