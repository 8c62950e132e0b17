"""Functions beside `main` that a module's loops are made of (`operators/steps.py`): their kernels and their weights.

A loop's function takes weights as its last parameters. What schedules ask to have them laid out as is done once, by
`main`, not in every step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from tunefarm_coordinator.models.constants import operator_name

# Attribute of a loop's function: so many of its parameters, the last ones, are weights.
LOOP_WEIGHTS = "tunefarm.loop_weights"
_INPUTS = "num_input"
# How TVM names the kernel that lays weights out for another one.
_LAYING_OUT = "_weight_prepack"


def called_kernels(mod: Any) -> list[Any]:
    """The kernel of every `call_tir` that `main` comes to, in order, repeated as often as it runs."""
    return _called(mod, mod["main"], {})


def _called(mod: Any, function: Any, known: dict[Any, list[Any]]) -> list[Any]:
    found: list[Any] = []

    def visit(expr: Any) -> None:
        if operator_name(expr) == "relax.call_tir":
            found.append(expr.args[0])
        elif _calls_function(expr):
            if expr.op not in known:
                known[expr.op] = _called(mod, mod[expr.op], known)
            found.extend(known[expr.op])

    relax.analysis.post_order_visit(function, visit)
    return found


def attach_layout_free(mod: Any) -> Any:
    """The module whose kernels know which of their parameters are weights, in `main` and in its loops."""
    marked = mod.clone()
    for gvar, function in _loops(mod):
        weights = int(function.attrs[LOOP_WEIGHTS])
        marked[gvar] = function.with_attr(_INPUTS, len(function.params) - weights)
    marked = relax.transform.AttachAttrLayoutFreeBuffers()(marked)
    for gvar, function in _loops(marked):
        marked[gvar] = function.without_attr(_INPUTS)
    return marked


def lay_out_once(mod: Any) -> Any:
    """The module that lays each weight out once for each layout, in `main`, after `SplitLayoutRewritePreproc`.

    The pass does so before every call; lifted, the results would lie in the library as often.
    """
    builder = relax.BlockBuilder(mod)
    moved = _Moved(mod, builder, {})
    for gvar, function in mod.functions.items():
        if gvar.name_hint == "main":
            builder.update_func(gvar, _LayoutMover(moved, ()).visit_expr(function))
    return relax.transform.DeadCodeElimination(["main"])(builder.get())


def _calls_function(expr: Any) -> bool:
    return isinstance(expr, tvm.ir.Call) and isinstance(expr.op, tvm.ir.GlobalVar)


def _loops(mod: Any) -> Iterator[tuple[Any, Any]]:
    for gvar, function in mod.functions.items():
        if isinstance(function, relax.Function) and LOOP_WEIGHTS in function.attrs:
            yield gvar, function


@dataclass
class _Layout:
    """A weight as a kernel wants it: `kernel` lays out what the parameters at `places` hold."""

    kernel: Any
    places: tuple[int, ...]
    ty: Any


@dataclass
class _Moved:
    """Loops' functions that leave the laying out to their callers: (function, what it takes) by the old one."""

    mod: Any
    builder: Any
    functions: dict[Any, tuple[Any, list[_Layout]]]

    def function(self, gvar: Any) -> tuple[Any, list[_Layout]]:
        if gvar not in self.functions:
            self.functions[gvar] = self._without_layouts(gvar)
        return self.functions[gvar]

    def _without_layouts(self, gvar: Any) -> tuple[Any, list[_Layout]]:
        old = self.mod[gvar]
        mover = _LayoutMover(self, old.params)
        function = mover.visit_expr(old)
        if not mover.wanted:
            return gvar, []
        parameters = [*function.params, *(var for var, _ in mover.wanted)]
        function = relax.Function(parameters, function.body, function.ret_ty, function.is_pure, function.attrs)
        return self.builder.add_func(function, str(gvar.name_hint)), [layout for _, layout in mover.wanted]


@relax.expr_functor.mutator
class _LayoutMover(relax.PyExprMutator):  # type: ignore[misc]
    """Takes what lays out a parameter from outside; `wanted`: each variable for it, with what it stands for."""

    def __init__(self, moved: _Moved, parameters: Sequence[Any]) -> None:
        super().__init__(moved.mod)
        self._moved, self._places = moved, {parameter: place for place, parameter in enumerate(parameters)}
        self._known: dict[tuple[str, tuple[Any, ...]], Any] = {}
        self.wanted: list[tuple[Any, _Layout]] = []

    def visit_call_(self, call: Any) -> Any:
        call = super().visit_call_(call)
        if operator_name(call) == "relax.call_tir" and str(call.args[0].name_hint).endswith(_LAYING_OUT):
            return self._laid_out(call.args[0], tuple(call.args[1].fields), call.ty_args[0])
        if not _calls_function(call) or not isinstance(self._moved.mod[call.op], relax.Function):
            return call
        function, layouts = self._moved.function(call.op)
        extra = [self._laid_out(it.kernel, tuple(call.args[place] for place in it.places), it.ty) for it in layouts]
        return tvm.ir.Call(function, [*call.args, *extra])

    def _laid_out(self, kernel: Any, weights: tuple[Any, ...], ty: Any) -> Any:
        key = str(kernel.name_hint), weights
        if key not in self._known:
            self._known[key] = self._new(kernel, weights, ty)
        return self._known[key]

    def _new(self, kernel: Any, weights: tuple[Any, ...], ty: Any) -> Any:
        if all(weight in self._places for weight in weights):
            variable = relax.Var(f"laid_out{len(self.wanted)}", ty)
            places = tuple(self._places[weight] for weight in weights)
            self.wanted.append((variable, _Layout(kernel, places, ty)))
            return variable
        # A kernel that wants several weights laid out has one function for all of them.
        results = list(ty.fields) if isinstance(ty, relax.TupleType) else ty
        return self.builder_.emit(relax.call_tir(kernel, relax.Tuple(weights), results))
