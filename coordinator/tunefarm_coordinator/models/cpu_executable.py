"""The compiled model of a CPU: the machine's code by TVM, its kernels as object files (`kernel_objects`)."""

import json
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.target import Target

from tunefarm_coordinator.engines import linker
from tunefarm_coordinator.engines.build import host_triple
from tunefarm_coordinator.models.gpu_executable import ENTRY_BY_KERNEL
from tunefarm_coordinator.models.kernel_objects import KernelObjects
from tunefarm_coordinator.models.one_call_code import as_one_call

_NO_KERNEL = "tunefarm_no_kernel"


def build_for_cpu(module: Any, target: Target, objects: KernelObjects) -> Any:
    """The executable of a scheduled module, as `relax.build` makes it. Raises as TVM does, and OSError.

    Its `main` is one call where that can be (`one_call`); `ENTRY_BY_KERNEL` runs the same kernels one by one.
    """
    code: dict[Any, Any] = {}
    if "main" in {str(gvar.name_hint) for gvar in module.get_global_vars()}:
        by_kernel = module["main"].with_attr("global_symbol", ENTRY_BY_KERNEL)
        module, code = as_one_call(module)
        module[ENTRY_BY_KERNEL] = by_kernel
    with target:
        lowered = relax.get_pipeline("default")(module)
    kernels = {g: f for g, f in lowered.functions.items() if isinstance(f, tvm.tirx.PrimFunc)}
    rest = tvm.IRModule({g: f for g, f in lowered.functions.items() if g not in kernels}, attrs=lowered.attrs)
    # Without any code beside them TVM writes C, which a linker can't read.
    rest[_NO_KERNEL] = tvm.tirx.PrimFunc([], tvm.tirx.Evaluate(0)).with_attr("global_symbol", _NO_KERNEL)
    rest.update(tvm.IRModule(code))
    built = objects.modules({str(gvar.name_hint): kernel for gvar, kernel in kernels.items()}, target)
    others = list((lowered.attrs or {}).get("external_mods", []))
    # What calls kernels has nothing to optimise, and LLVM would take half a second for it. (At level 0 an empty
    # function stays, by which TVM takes a library for one that its program is linked with: two in a process would mix.)
    plainly = Target({**json.loads(str(target)), "opt-level": 1})
    return relax.build(rest.with_attr("external_mods", [*built, *others]), target=plainly, relax_pipeline=None)


def link_model(executable: Any, target: Target, library: Path) -> None:
    """Links an executable, of a CPU or a GPU, into the shared library `library`. Raises LinkError."""
    triple = host_triple(target)

    def link(output: str, objects: list[str], **_: Any) -> None:
        linker.link([Path(path) for path in objects], Path(output), triple)

    executable.export_library(str(library), fcompile=link)
