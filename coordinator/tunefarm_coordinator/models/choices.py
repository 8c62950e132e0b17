"""Branches that are decided while a model runs (ONNX's If): both are computed, and a kernel chooses between them.

So a model with branches is one block without control flow, which all passes see through: kernels are fused over it,
weights laid out, layouts converted. Nothing is fused into the choice, and so nothing of one branch into the other. When
a CPU's model is compiled, what only one side of a choice reads goes into a function, and only that of the side that the
condition asks for is called (`decided_early`). Plain TVM, and CUDA graphs, compute both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax, te

from tunefarm_coordinator.models.constants import operator_name

_CHOICE = "tunefarm.choice"
_OPAQUE = 8  # kind of kernel that nothing is fused with


def choice(builder: Any, condition: Any, one: Any, other: Any) -> Any:
    """`one` where the condition, a scalar, is true, else `other`; of the same shape and dtype."""

    def chosen(asked: Any, left: Any, right: Any) -> Any:
        return te.compute(left.shape, lambda *at: te.if_then_else(asked(), left(*at), right(*at)), name="choice")

    attributes = {"op_pattern": _OPAQUE, _CHOICE: True}
    return builder.emit_te(chosen, condition, one, other, primfunc_name_hint="choice", primfunc_attrs=attributes)


def decided_early(mod: Any) -> Any:
    """The module of kernels whose `main` computes of each choice only the side that is asked for.

    Its values are the same. A module whose `main` has control flow by now stays as it is.
    """
    main = mod["main"]
    blocks = main.body.blocks
    if len(blocks) != 1 or not isinstance(blocks[0], relax.DataflowBlock):
        return mod
    bindings = list(blocks[0].bindings)
    groups = _groups(mod, bindings)
    _find_sides(bindings, groups, main.body.body)
    worth_it = [group for group in groups if any(side.bindings for side in group.sides)]
    return _Writer(mod, worth_it).module() if worth_it else mod


@dataclass(eq=False)
class _Side:
    """Of one branch what nothing else reads: `bindings` in order, and the values that it gives to the choices. `outer`:
    the side that its choices are in themselves."""

    bindings: list[Any] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    outer: "_Side | None" = None

    def enclosing(self) -> list["_Side"]:
        """The side, and those around it."""
        return [self, *(self.outer.enclosing() if self.outer is not None else ())]


@dataclass(eq=False)
class _Group:
    """Choices by one condition, behind one another: nothing between them reads their results."""

    condition: Any
    choices: list[Any] = field(default_factory=list)
    sides: tuple[_Side, _Side] = field(default_factory=lambda: (_Side(), _Side()))


def _is_choice(mod: Any, value: Any) -> bool:
    if operator_name(value) != "relax.call_tir":
        return False
    return bool((mod[value.args[0]].attrs or {}).get(_CHOICE))


def _groups(mod: Any, bindings: Sequence[Any]) -> list[_Group]:
    """The choices of a block. Those by the same condition are one group until one's result is read."""
    groups: list[_Group] = []
    of_result: dict[Any, _Group] = {}
    open_groups: dict[Any, _Group] = {}
    for binding in bindings:
        for var in _read(binding.value):
            if var in of_result:
                open_groups.pop(of_result[var].condition, None)
        if not _is_choice(mod, binding.value):
            continue
        condition, *results = binding.value.args[1].fields
        if condition not in open_groups:
            open_groups[condition] = _Group(condition)
            groups.append(open_groups[condition])
        group = of_result[binding.var] = open_groups[condition]
        group.choices.append(binding)
        for side, result in zip(group.sides, results, strict=True):
            side.results.append(result)
    return groups


def _find_sides(bindings: Sequence[Any], groups: Sequence[_Group], result: Any) -> None:
    """Gives each side the bindings that are for it alone, other choices among them."""
    chosen = {binding.var: group for group in groups for binding in group.choices}
    readers: dict[Any, set[_Side | None]] = {var: {None} for var in _read(result)}
    for binding in reversed(bindings):
        group = chosen.get(binding.var)
        # All that read a group's results come behind the last of them.
        of_one = [binding] if group is None else group.choices
        by = set[_Side | None]().union(*(readers.get(each.var, set()) for each in of_one))
        side = _around(by)
        if side is not None:
            side.bindings.insert(0, binding)
        reads = [(var, side) for var in _read(binding.value)]
        if group is not None:
            for own in group.sides:
                own.outer = side
            condition, *results = binding.value.args[1].fields
            reads = [(condition, side), *zip(results, group.sides, strict=True)]
        for value, reader in reads:
            readers.setdefault(value, set()).add(reader)


def _around(sides: set[_Side | None]) -> _Side | None:
    """The innermost side that all of them are in; None for none."""
    around = [[] if side is None else side.enclosing() for side in sides]
    return next((side for side in (around or [[]])[0] if all(side in other for other in around)), None)


def _read(expr: Any) -> list[Any]:
    return list(relax.analysis.free_vars(expr))


class _Writer:
    """Writes `main` with a call in the place of each group's choices and sides."""

    def __init__(self, mod: Any, groups: Sequence[_Group]) -> None:
        self._mod, self._builder = mod, relax.BlockBuilder(mod)
        self._last = {group.choices[-1].var: group for group in groups}
        self._chosen = {binding.var for group in groups for binding in group.choices}
        self._moved = {binding.var for group in groups for side in group.sides for binding in side.bindings}

    def module(self) -> Any:
        main = self._mod["main"]
        left = [binding for binding in main.body.blocks[0].bindings if binding.var not in self._moved]
        body = relax.SeqExpr([relax.DataflowBlock(self._with_calls(left))], main.body.body)
        new_main = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
        self._builder.update_func(self._mod.get_global_var("main"), new_main)
        return relax.transform.Normalize()(self._builder.get())

    def _with_calls(self, bindings: Sequence[Any]) -> list[Any]:
        written: list[Any] = []
        for binding in bindings:
            if binding.var in self._last:
                written += self._call(self._last[binding.var])
            elif binding.var not in self._chosen:
                written.append(binding)
        return written

    def _call(self, group: _Group) -> list[Any]:
        """Bindings that call the function of a group and take its choices out of what it gives."""
        sides = [self._side(side) for side in group.sides]
        given = list(dict.fromkeys([group.condition, *sides[0][1], *sides[1][1]]))
        parameters = [relax.Var(f"given{at}", var.ty) for at, var in enumerate(given)]
        inside = dict(zip(given, parameters, strict=True))
        branches = [_branch(function, [inside[var] for var in read], ty) for function, read, ty in sides]
        result = relax.Var("chosen", sides[0][2])
        decided = relax.VarBinding(result, relax.If(inside[group.condition], *branches))
        function = relax.Function(parameters, relax.SeqExpr([relax.BindingBlock([decided])], result), result.ty)
        call = relax.DataflowVar("choice", result.ty)
        items = [
            relax.VarBinding(binding.var, relax.TupleGetItem(call, at)) for at, binding in enumerate(group.choices)
        ]
        return [relax.VarBinding(call, tvm.ir.Call(self._builder.add_func(function, "choice"), given)), *items]

    def _side(self, side: _Side) -> tuple[Any, list[Any], Any]:
        """(the function of a side, the variables that it takes, the type of what it gives)."""
        bindings = self._with_calls(side.bindings)
        own = {binding.var for binding in bindings}
        values = [*(binding.value for binding in bindings), *side.results]
        given = list(dict.fromkeys(var for value in values for var in _read(value) if var not in own))
        parameters = [relax.Var(f"given{at}", var.ty) for at, var in enumerate(given)]
        result = relax.Var("results", relax.TupleType([it.ty for it in side.results]))
        block = relax.DataflowBlock([*bindings, relax.VarBinding(result, relax.Tuple(side.results))])
        body = _renamed(relax.SeqExpr([block], result), dict(zip(given, parameters, strict=True)))
        return self._builder.add_func(relax.Function(parameters, body, result.ty), "branch"), given, result.ty


def _branch(function: Any, given: Sequence[Any], ty: Any) -> Any:
    called = relax.Var("called", ty)
    call = relax.VarBinding(called, tvm.ir.Call(function, list(given)))
    return relax.SeqExpr([relax.BindingBlock([call])], called)


def _renamed(body: Any, names: Mapping[Any, Any]) -> Any:
    mover = _Mover()
    for var, name in names.items():
        mover.set_var_remap(var, name)
    return mover.visit_expr(body)


@relax.expr_functor.mutator
class _Mover(relax.PyExprMutator):  # type: ignore[misc]
    pass
