"""Tensor intrinsics, registered only where a target can use them.

`import tvm.s_tir.tensor_intrin` parses every intrinsic of every back end, which takes 14 to 20 s, and
`TuneContext` does that import whenever one is made. Here the package is entered in `sys.modules` without
running its `__init__`, so that import costs nothing, and the module of one family (x86: 0.2 s, ARM: 0.8 s)
is loaded when a task's data types, or a trace that tensorizes, call for it. CUDA's would take 6 s: the few
that our schedules use are made by `engines.gpu.fragments`. The submodules stay importable under their own
names for code of TVM that wants them.
"""

import importlib
import re
import sys
import types
from importlib.util import find_spec
from pathlib import Path

from tvm import IRModule
from tvm.target import Target
from tvm.target.codegen import llvm_get_system_triple

from tunefarm_coordinator.engines.dot_products import dots_of, register
from tunefarm_coordinator.engines.gpu import fragments

_PACKAGE = "tvm.s_tir.tensor_intrin"
_NARROW_TYPES = re.compile(r"\b(u?int8|float16|bfloat16)(x\d+)?\b")
# What a family's intrinsics multiply: others in a module (float16 on a CPU) don't call for it.
_INTEGERS = {"int8", "uint8"}
_OPERANDS = {
    # LLVM 22 refuses those that TVM 0.27 has for x86; products of integers are schedules of our own (`autotvm.dots`).
    "x86": set(),
    "arm_cpu": _INTEGERS,
    "riscv_cpu": _INTEGERS,
    # Products on tensor cores are schedules of our own (`engines.gpu`), not matched by rules.
    "cuda": set(),
}


def enter_lazy_package() -> None:
    """Makes `import tvm.s_tir.tensor_intrin` free in this process; where the real package was imported
    before, nothing is changed. Call it before the first `TuneContext`."""
    if _PACKAGE in sys.modules:
        return
    parent = find_spec("tvm.s_tir")
    if parent is None or not parent.submodule_search_locations:
        raise ImportError("tvm.s_tir is not installed as a package")
    package = types.ModuleType(_PACKAGE, "Tensor intrinsics, family by family (entered by tunefarm).")
    package.__path__ = [str(Path(next(iter(parent.submodule_search_locations))) / "tensor_intrin")]
    package.__package__ = _PACKAGE
    sys.modules[_PACKAGE] = package


def family(target: Target) -> str | None:
    """The module of `tvm.s_tir.tensor_intrin` that serves `target`; None where TVM has none."""
    if target.kind.name == "cuda":
        return "cuda"
    if target.kind.name != "llvm":
        return None
    triple = str(target.attrs.get("mtriple", "")) or str(llvm_get_system_triple())
    architecture = triple.split("-", 1)[0]
    if architecture.startswith(("aarch64", "arm")):
        return "arm_cpu"
    if architecture.startswith("riscv"):
        return "riscv_cpu"
    return "x86" if architecture in ("x86_64", "i686", "i386") else None


def usable(module: IRModule, target: Target) -> bool:
    """Whether any intrinsic of the target could match a block of `module`, judged by data types."""
    name = family(target)
    if name is None:
        return False
    found = {match.group(1) for match in _NARROW_TYPES.finditer(module.script())}
    return bool(found & _OPERANDS[name])


def load(target: Target) -> None:
    """Registers the intrinsics of the target's family and our own, once in a process; nothing where there is none."""
    enter_lazy_package()
    name = family(target)
    dots = dots_of(str(target))
    if dots is not None:
        register(dots)
    if name == "cuda":
        fragments.register()
    elif name is not None:
        importlib.import_module(f"{_PACKAGE}.{name}")
