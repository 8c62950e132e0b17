"""Compiles kernels for CPUs with exp, tanh and their like as vectors.

LLVM takes vectors of these functions apart into scalar calls of libm, 2 to 20 ns an element. Here each call, once TVM
has made vectors of it, becomes the call of a function in LLVM's own language, which LLVM inlines. As expressions of TIR
in the prepared module, bound by `tirx.Let`, they took TVM's simplifier a hundred times as long for each function inside
another, and inlining or narrow floats bound a variable twice. So the calls stay in workloads, and kernels whose
functions are libm's have a mark.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import tvm
import tvm_ffi
from tvm import IRModule
from tvm.ir import Call, StringImm, register_op_attr
from tvm.ir.op import _ffi_api as operators
from tvm.target import Target
from tvm.tirx import AttrStmt, Broadcast, FloatImm, PrimFunc
from tvm.tirx.build import codegen_build
from tvm.tirx.op import call_intrin, call_pure_extern

from tunefarm_coordinator.engines import accumulators
from tunefarm_coordinator.engines.mathematics import exponentials, logarithms, powers, trigonometry
from tunefarm_coordinator.engines.mathematics.vectors import Code, Value

# Attribute of kernels whose functions stay libm's, and that are computed as they are written.
EXACT = "tunefarm.exact_math"


@dataclass(frozen=True)
class Function:
    """`error`: the largest there is, in units in the last place of float32, against float64."""

    formula: Callable[..., Any]
    error: float


# By intrinsic of TVM. The errors are those of docs/mathematics.md, rounded up.
FUNCTIONS = {
    "exp": Function(exponentials.exp, 1.0),
    "exp2": Function(exponentials.exp2, 1.0),
    "exp10": Function(exponentials.exp10, 1.2),
    "sigmoid": Function(exponentials.sigmoid, 2.5),
    "tanh": Function(exponentials.tanh, 5.5),
    "sinh": Function(exponentials.sinh, 2.0),
    "cosh": Function(exponentials.cosh, 1.5),
    "erf": Function(exponentials.erf, 5.5),
    "log": Function(logarithms.log, 1.0),
    "log2": Function(logarithms.log2, 1.3),
    "log10": Function(logarithms.log10, 1.0),
    "log1p": Function(logarithms.log1p, 1.5),
    "sin": Function(trigonometry.sin, 1.5),
    "cos": Function(trigonometry.cos, 1.5),
    "tan": Function(trigonometry.tan, 3.5),
    "pow": Function(powers.power, 0.51),
}
# TVM makes no vectors of these, but a loop over the lanes: until it has made vectors, operators of ours stand for them.
_STAND_INS = {f"tirx.{name}": f"tunefarm.{name}" for name in ("erf", "log1p")}
_PURE = 1
for _operator in _STAND_INS.values():
    operators.RegisterOp(_operator, "")
    register_op_attr(_operator, "TVectorizable", True)
    register_op_attr(_operator, "TCallEffectKind", _PURE)
_WIDE = "float32"
_NARROW = ("float16", "bfloat16")
# pow of a constant exponent has it in its name.
_SYMBOL = re.compile(r"tunefarm_([a-z0-9]+?)(?:_by_(-?[0-9.]+))?_of_([0-9]+)")


def build(module: IRModule, target: Target) -> tvm.runtime.Module:
    """As `tvm.tirx.build` of scheduled functions for an LLVM target, with vectors if no kernel is marked `EXACT`."""
    if any(EXACT in (kernel.attrs or {}) for kernel in module.functions.values()):
        return tvm.tirx.build(module, target=target)
    host = target.with_host(target)
    pipeline, finalize, _ = tvm.tirx.get_default_tir_pipeline(target)
    lowered = pipeline(tvm.tirx.transform.BindTarget(host)(_with_stand_ins(module)))
    for gvar, function in lowered.functions.items():
        if isinstance(function, PrimFunc):
            lowered[gvar] = accumulators.apart(_with_vectors(function))
    return codegen_build(finalize()(lowered), target)


def mark_exact(mod: Any, others: Callable[[PrimFunc], bool] = lambda _: False) -> Any:
    """The module with a mark on every kernel that has one of the functions: they stay libm's. And on `others`, kernels
    that other algorithms than the one that is written in them are for.

    The mark is part of a kernel's workload, so that records of both kinds stay apart.
    """
    marked = mod.clone()
    for gvar, function in mod.functions.items():
        if isinstance(function, PrimFunc) and (_functions_in(function) or others(function)):
            marked[gvar] = function.with_attr(EXACT, 1)
    return marked


def functions_of(mod: Any) -> tuple[str, ...]:
    """Names of the `FUNCTIONS` in a module's kernels."""
    kernels = [function for function in mod.functions.values() if isinstance(function, PrimFunc)]
    found = {name for kernel in kernels for name in _functions_in(kernel)}
    return tuple(name for name in FUNCTIONS if name in found)


def _functions_in(kernel: PrimFunc) -> set[str]:
    found: list[str | None] = []
    tvm_ffi.structural_walk(kernel, (Call, lambda call: found.append(_name(call))))
    return {name for name in found if name is not None}


def _with_stand_ins(module: IRModule) -> IRModule:
    def stand_in(call: Any) -> Any:
        own = _STAND_INS.get(str(getattr(call.op, "name", ""))) if _name(call) else None
        return call if own is None else call_intrin(str(call.ty.dtype), own, *call.args)

    changed = module.clone()
    for gvar, function in module.functions.items():
        if isinstance(function, PrimFunc) and _functions_in(function):
            changed[gvar] = tvm_ffi.structural_map(function, (Call, stand_in))
    return changed


def _with_vectors(function: PrimFunc) -> PrimFunc:
    symbols: set[str] = set()
    changed = tvm_ffi.structural_map(function, (Call, partial(_replaced, symbols=symbols)))
    if not symbols:
        return function
    definitions = StringImm(_definitions(sorted(symbols)))
    return changed.with_body(AttrStmt(tvm.tirx.const(0, "int32"), "pragma_import_llvm", definitions, changed.body))


def _replaced(call: Any, symbols: set[str]) -> Any:
    name = _name(call)
    if name is None:
        return call
    dtype = str(call.ty.dtype)
    element, _, lanes = dtype.partition("x")
    wide = dtype.replace(element, _WIDE)
    arguments, given = list(call.args), ""
    if name == "pow" and (exponent := _constant(arguments[1])) is not None and powers.is_simple(exponent):
        arguments, given = arguments[:1], f"_by_{exponent:g}"
    symbol = f"tunefarm_{name}{given}_of_{lanes or 1}"
    symbols.add(symbol)
    result = call_pure_extern(wide, symbol, *(it.astype(wide) for it in arguments))
    return result.astype(dtype)


def _name(call: Any) -> str | None:
    """The function's, if it is one of those, of numbers that are computed in float32."""
    kind, _, name = str(getattr(call.op, "name", "")).rpartition(".")
    if kind not in ("tirx", "prim", "tunefarm") or name not in FUNCTIONS:
        return None
    element, _, lanes = str(call.ty.dtype).partition("x")
    return name if element in (_WIDE, *_NARROW) and "vscale" not in lanes else None


def _constant(value: Any) -> float | None:
    if isinstance(value, Broadcast):
        value = value.value
    return float(value.value) if isinstance(value, FloatImm) else None


def _definitions(symbols: list[str]) -> str:
    """LLVM's text of the functions."""
    declarations: set[str] = set()
    bodies = []
    for symbol in symbols:
        matched = _SYMBOL.fullmatch(symbol)
        assert matched is not None
        name, exponent, lanes = matched.groups()
        formula = FUNCTIONS[name].formula
        if exponent is not None:
            formula = partial(powers.simple_power, exponent=float(exponent))
        code = Code(int(lanes))
        count = 2 if formula is powers.power else 1
        result: Value = formula(*(Value(code, f"%x{index}", "float") for index in range(count)))
        declarations |= code.declarations
        of = code.of("float")
        parameters = ", ".join(f"{of} %x{index}" for index in range(count))
        lines = [f'define {of} @"{symbol}"({parameters}) alwaysinline {{', *code.lines, f"ret {of} {result.name}", "}"]
        bodies.append("\n".join(lines))
    return "\n".join([*sorted(declarations), *bodies])
