"""Builds CUDA kernels one by one, so that an image compiled for a candidate serves the package as well.

`tvm.tirx.build` makes one CUDA source of all kernels of a module, named after their place in it: another module,
another source. Here each kernel is lowered under a name that derives from what it computes, and becomes a CUDA module
of its own; the function on the host, which calls it by that name, gets its own name back.
"""

from dataclasses import dataclass, field
from typing import Any

import tvm
import tvm_ffi
from tvm import IRModule
from tvm.target import Target
from tvm.tirx import PrimFunc
from tvm.tirx.build import codegen_build, split_host_device_mods

from tunefarm_coordinator.engines.cuda import compiler
from tunefarm_coordinator.engines.gpu.nests import ARRANGED

# What lowering reads. Others differ between a candidate and the same kernel in a model.
_ATTRIBUTES = ("tirx.noalias", "s_tir")
_SYMBOL = "global_symbol"
# For kernels whose shared memory is arranged: copies ahead become `cp.async`, and TVM neither makes one array of what
# has other types, which a fragment's load can't read, nor arrays of vectors, which a copy ahead can't.
_AS_ARRANGED = {"tirx.use_async_copy": True, "tirx.disable_storage_rewrite": True}
# An image, as far as TVM looks at it.
_PLACEHOLDER = b"\x7fELF"


@dataclass
class _Kernel:
    """A function without the names that it goes by."""

    function: Any
    names: list[str] = field(default_factory=list)


def build(module: IRModule, target: Target) -> tvm.runtime.Module:
    """As `tvm.tirx.build` of scheduled functions, in the scope of `compiler.compiling_for(target)`.

    Several kernels are compiled at once. Raises as TVM does; RuntimeError with what the compiler says.
    """
    host = target.host or Target("llvm")
    kernels = _by_content(module)
    bodies = IRModule({name: kernel.function for name, kernel in kernels.items()}, attrs=module.attrs)
    _, finalize_host, finalize_device = tvm.tirx.get_default_tir_pipeline(target)
    lowered = _lowered(bodies, target.with_host(host))
    on_host, on_devices = split_host_device_mods(lowered)
    built = codegen_build(_under_their_names(finalize_host()(on_host), kernels), host)
    for device, functions in on_devices.items():
        for each in _device_modules(finalize_device()(functions), device):
            built.import_module(each)
    return built


def _lowered(bodies: IRModule, target: Target) -> IRModule:
    """TVM's pipeline, with other settings for kernels that are arranged."""
    pipeline, _, _ = tvm.tirx.get_default_tir_pipeline(target)
    bound = tvm.tirx.transform.BindTarget(target)(bodies)
    parts = {True: dict[Any, Any](), False: dict[Any, Any]()}
    for gvar, function in bound.functions.items():
        parts[_arranged(function)][gvar] = function
    merged = IRModule({}, attrs=bound.attrs)
    for arranged, functions in parts.items():
        if functions:
            with tvm.transform.PassContext(config=_AS_ARRANGED if arranged else {}):
                merged.update(pipeline(IRModule(functions, attrs=bound.attrs)))
    return merged


def _arranged(function: PrimFunc) -> bool:
    return ARRANGED in getattr(getattr(function.body, "block", None), "annotations", {})


def _by_content(module: IRModule) -> dict[str, _Kernel]:
    """The functions by names that are the same for the same function in any module; equal ones once."""
    found: dict[str, _Kernel] = {}
    for gvar, function in module.functions.items():
        bare = _bare(function)
        name = f"k{tvm_ffi.structural_hash(bare) & (2**64 - 1):016x}"
        while name in found and not tvm_ffi.structural_equal(found[name].function, bare):
            name += "_"
        found.setdefault(name, _Kernel(bare)).names.append(str(gvar.name_hint))
    return {name: _Kernel(each.function.with_attr(_SYMBOL, name), each.names) for name, each in found.items()}


def _bare(function: PrimFunc) -> PrimFunc:
    for name in list(function.attrs.keys()):
        if name not in _ATTRIBUTES:
            function = function.without_attr(name)
    return function


def _under_their_names(on_host: IRModule, kernels: dict[str, _Kernel]) -> IRModule:
    functions = {}
    for gvar, function in on_host.functions.items():
        content = str(gvar.name_hint)
        # Lowering has put a prefix before it, by which the runtime finds it.
        symbol = str(function.attrs[_SYMBOL])
        for name in kernels[content].names:
            functions[name] = function.with_attr(_SYMBOL, symbol.replace(content, name))
    return IRModule(functions, attrs=on_host.attrs)


def _device_modules(functions: IRModule, device: Target) -> list[tvm.runtime.Module]:
    """A module for each kernel. The sources come first, so that all can be compiled at once."""
    alone = [IRModule({gvar: function}, attrs=functions.attrs) for gvar, function in functions.functions.items()]
    sources: list[str] = []

    def collect(source: str) -> bytes:
        sources.append(source)
        return _PLACEHOLDER

    with compiler.answering(collect):
        for each in alone:
            codegen_build(each, device)
    images = compiler.images_of(sources)
    with compiler.answering(images.__getitem__):
        return [codegen_build(each, device) for each in alone]
