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
    return _with_calls(mod, worth_it) if worth_it else mod


@dataclass(eq=False)
class _Side:
    """Of one branch what nothing else reads: `bindings` in order, and the values that it gives to the choices."""

    bindings: list[Any] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def outside(self) -> list[Any]:
        """The variables that it reads and does not bind, once each."""
        own = {binding.var for binding in self.bindings}
        values = [binding.value for binding in self.bindings]
        read = [var for value in (*values, *self.results) for var in _read(value)]
        return list(dict.fromkeys(var for var in read if var not in own))


@dataclass(eq=False)
class _Group:
    """Choices by one condition, behind one another: nothing between them reads their results."""

    condition: Any
    choices: list[Any] = field(default_factory=list)
    sides: tuple[_Side, _Side] = field(default_factory=lambda: (_Side(), _Side()))

    def reads(self) -> list[Any]:
        return list(dict.fromkeys([self.condition, *self.sides[0].outside(), *self.sides[1].outside()]))


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
    """Gives each side the bindings that are for it alone."""
    chosen = {binding.var: group for group in groups for binding in group.choices}
    readers: dict[Any, set[_Side | None]] = {var: {None} for var in _read(result)}
    for binding in reversed(bindings):
        if binding.var in chosen:
            condition, *results = binding.value.args[1].fields
            reads = [(condition, None), *zip(results, chosen[binding.var].sides, strict=True)]
        else:
            by = readers.get(binding.var, set())
            side = next(iter(by)) if len(by) == 1 else None
            if side is not None:
                side.bindings.insert(0, binding)
            reads = [(var, side) for var in _read(binding.value)]
        for value, reader in reads:
            readers.setdefault(value, set()).add(reader)


def _read(expr: Any) -> list[Any]:
    return list(relax.analysis.free_vars(expr))


def _with_calls(mod: Any, groups: Sequence[_Group]) -> Any:
    """The module with a call in the place of each group's choices and sides."""
    builder, main = relax.BlockBuilder(mod), mod["main"]
    moved = {binding.var for group in groups for side in group.sides for binding in side.bindings}
    last = {group.choices[-1].var: group for group in groups}
    gone = moved | {binding.var for group in groups for binding in group.choices}
    bindings: list[Any] = []
    for binding in main.body.blocks[0].bindings:
        if binding.var not in gone:
            bindings.append(binding)
        elif binding.var in last:
            bindings += _call(builder, last[binding.var])
    body = relax.SeqExpr([relax.DataflowBlock(bindings)], main.body.body)
    new_main = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    builder.update_func(mod.get_global_var("main"), new_main)
    return relax.transform.Normalize()(builder.get())


def _call(builder: Any, group: _Group) -> list[Any]:
    """Bindings that call the function of a group and take its choices out of what it gives."""
    given = group.reads()
    parameters = [relax.Var(f"given{at}", var.ty) for at, var in enumerate(given)]
    inside = dict(zip(given, parameters, strict=True))
    branches = [_branch(builder, side, inside) for side in group.sides]
    result = relax.Var("chosen", branches[0].body.ty)
    decided = relax.VarBinding(result, relax.If(inside[group.condition], *branches))
    function = relax.Function(parameters, relax.SeqExpr([relax.BindingBlock([decided])], result), result.ty)
    call = relax.DataflowVar("choice", result.ty)
    items = [relax.VarBinding(binding.var, relax.TupleGetItem(call, at)) for at, binding in enumerate(group.choices)]
    return [relax.VarBinding(call, tvm.ir.Call(builder.add_func(function, "choice"), given)), *items]


def _branch(builder: Any, side: _Side, inside: dict[Any, Any]) -> Any:
    """A call of the side's function; `inside`: what the variables that it reads are called where it is made."""
    given = side.outside()
    parameters = [relax.Var(f"given{at}", var.ty) for at, var in enumerate(given)]
    results = relax.Tuple(side.results)
    result = relax.Var("results", relax.TupleType([it.ty for it in side.results]))
    block = relax.DataflowBlock([*side.bindings, relax.VarBinding(result, results)])
    body = _renamed(relax.SeqExpr([block], result), dict(zip(given, parameters, strict=True)))
    function = builder.add_func(relax.Function(parameters, body, result.ty), "branch")
    called = relax.Var("called", result.ty)
    call = relax.VarBinding(called, tvm.ir.Call(function, [inside[var] for var in given]))
    return relax.SeqExpr([relax.BindingBlock([call])], called)


def _renamed(body: Any, names: Mapping[Any, Any]) -> Any:
    mover = _Mover()
    for var, name in names.items():
        mover.set_var_remap(var, name)
    return mover.visit_expr(body)


@relax.expr_functor.mutator
class _Mover(relax.PyExprMutator):  # type: ignore[misc]
    pass
