"""A model's weights, laid out on this machine as its kernels read them, and constants from then on."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import relax
from tvm.target import Target

from tunefarm_coordinator.models.cpu_executable import build_for_cpu, link_model
from tunefarm_coordinator.models.kernel_objects import KernelObjects
from tunefarm_coordinator.models.layout_split import split_layouts
from tunefarm_coordinator.models.loops import lay_out_once
from tunefarm_coordinator.models.prepare import PreparedModel
from tunefarm_coordinator.models.target import quickly_built

_TRANSFORM = "main_transform_params"


def with_weights(module: Any, prepared: PreparedModel, objects: KernelObjects) -> Any:
    """The scheduled module with its weights as constants, in the layouts that its kernels read. Raises as TVM does,
    LinkError, OSError."""
    module, weights = _without_returned(module, prepared.weights(), len(prepared.inputs))
    # Of a model without inputs nothing would be left to run.
    if weights and prepared.inputs:
        target = Target(prepared.target)
        with target:
            if target.kind.name != "cuda":
                # Schedules for GPUs read weights as they lie.
                module = lay_out_once(split_layouts(module))
            module = relax.transform.LiftTransformParams()(module)
        weights = prepacked(module, weights, objects)
    parameters = module["main"].params[len(prepared.inputs) :]
    if parameters:
        module = relax.transform.BindParams("main", dict(zip(parameters, weights, strict=True)))(module)
    # It has done its work; for TVM it would be a second entry, whose kernels were compiled as well.
    left = tvm.IRModule({g: f for g, f in module.functions.items() if g.name_hint != _TRANSFORM}, attrs=module.attrs)
    return relax.transform.DeadCodeElimination(["main"])(left)


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


def prepacked(module: Any, weights: Sequence[NDArray[Any]], objects: KernelObjects) -> list[Any]:
    """What `main_transform_params` makes of the weights, computed on this machine."""
    # `main` has to go first, or its kernels would be kept and compiled as well.
    host_module = tvm.IRModule({g: f for g, f in module.functions.items() if g.name_hint != "main"})
    host_module = relax.transform.DeadCodeElimination([_TRANSFORM])(host_module)
    target = quickly_built()
    executable = build_for_cpu(host_module, target, objects)
    with tempfile.TemporaryDirectory(prefix="tunefarm-weights-") as folder:
        library = Path(folder) / "layouts.so"
        link_model(executable, target, library)
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    return list(machine[_TRANSFORM]([tvm.runtime.tensor(weight) for weight in weights]))
