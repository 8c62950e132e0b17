"""Which ONNX nodes a kernel computes: carried through the preparation in the names of Relax variables.

Every value that an ONNX node gives is bound to a variable that is called after the node (`named`). TVM's passes keep
variables' names up to fusion; what they make beside them (a decomposed normalisation's mean) has none, and belongs to
the nodes that use it. Fusion loses some names. So the values of the module before it are numbered by what computes
them (operator and operands), and the fused module's calls are found again among them (`origins_of`). What isn't
found has no nodes: unknown rather than wrong.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import onnx
import tvm
from tvm import relax

from tunefarm_coordinator.models.constants import is_constant, operator_name
from tunefarm_coordinator.models.loops import called_kernels

# Kernels' arguments are called by these names, and CUDA's source calls them so, too: a node's name is written in hex.
_MARK = "onnxnode_"
_NAMED = re.compile(rf"{_MARK}([0-9a-f]*)_")
# Values that belong to no node, such as changes of layout.
OF_NO_NODE = f"{_MARK}_"
# Elements of a constant that is known by its value: passes make small ones anew.
_SMALL = 16


@dataclass(frozen=True)
class Origins:
    """ONNX nodes of the kernels of a model.

    Attributes:
        order: position of each node in the model.
        nodes: names of the nodes by the kernel's function.
    """

    order: Mapping[str, int] = field(default_factory=dict)
    nodes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of(self, functions: Iterable[str]) -> tuple[str, ...]:
        """The nodes that the functions compute, in the model's order; empty where none is known."""
        found = frozenset[str]().union(*(self.nodes.get(name, frozenset()) for name in functions))
        return tuple(sorted(found, key=self.order.__getitem__))

    def renamed(self, old: list[str], new: list[str]) -> "Origins":
        """The same for functions that have other names now: `old` and `new` as `calls_of` has them. Nothing is known
        where these are not the same calls."""
        if len(old) != len(new):
            return Origins()
        nodes: dict[str, frozenset[str]] = {}
        for was, now in zip(old, new, strict=True):
            nodes[now] = nodes.get(now, frozenset()) | self.nodes.get(was, frozenset())
        return Origins(self.order, nodes)


NOT_KNOWN = Origins()


def name_of(node: onnx.NodeProto) -> str:
    """The node's name, or its first output's where it has none."""
    return str(node.name or next((name for name in node.output if name), ""))


def namer(original: onnx.GraphProto) -> Callable[[onnx.NodeProto], str]:
    """A function from a node of a simplified graph to the name of the original's node that it stands for; empty where
    that isn't known."""
    names = {name_of(node) for node in original.node}
    producers = {output: name_of(node) for node in original.node for output in node.output if output}

    def name(node: onnx.NodeProto) -> str:
        if node.name in names:
            return str(node.name)
        return next((producers[value] for value in (node.name, *node.output) if value in producers), "")

    return name


def named(mod: Any, names: Mapping[Any, str]) -> Any:
    """The module with each variable of `names` (variable: node) bound under its node's name, and its aliases too."""
    if not _is_one_block(mod["main"]):
        return mod
    known = dict(names)
    for binding in mod["main"].body.blocks[0].bindings:
        if binding.value in known:
            known.setdefault(binding.var, known[binding.value])
    return _renamed(mod, lambda var, _: f"{_MARK}{known[var].encode().hex()}_" if var in known else str(var.name))


class Tracer:
    """Passes around fusion; `origins` is what they found."""

    def __init__(self) -> None:
        self.origins = NOT_KNOWN
        self._before: Any = None

    def before_fusion(self) -> Any:
        """Keeps the module, and takes the names off."""

        def keep(mod: Any, _context: Any) -> Any:
            self._before = mod
            return without_names(mod)

        return tvm.ir.transform.module_pass(keep, opt_level=0, name="KeepNames")

    def after_fusion(self) -> Any:
        """Finds the nodes of each kernel; changes nothing."""

        def find(mod: Any, _context: Any) -> Any:
            self.origins, self._before = origins_of(self._before, mod), None
            return mod

        return tvm.ir.transform.module_pass(find, opt_level=0, name="FindOrigins")


def without_names(mod: Any) -> Any:
    """The module with plain names: those of kernels' arguments are made of them."""
    return _renamed(mod, lambda _, at: f"lv{at}") if _is_one_block(mod["main"]) else mod


def calls_of(mod: Any) -> list[str]:
    """Names of the kernels that a run of `main` calls, one for each call."""
    return [str(kernel.name_hint) for kernel in called_kernels(mod)]


def origins_of(before: Any, fused: Any) -> Origins:
    """Nodes by function of the module that fusion made of `before`, whose variables still have their names."""
    if not _is_one_block(before["main"]):
        return NOT_KNOWN
    bindings = list(before["main"].body.blocks[0].bindings)
    nodes = _nodes(bindings)
    values = _Values(before["main"].params)
    known: dict[Any, frozenset[str]] = {}
    for binding, of_binding in zip(bindings, nodes, strict=True):
        number = values.bind(binding.var, binding.value)
        known[number] = known.get(number, frozenset()) | of_binding
    order: dict[str, int] = {}
    for binding in bindings:
        order.setdefault(_node_of(binding.var) or "", len(order))
    return Origins(order, _found_again(fused, values, known))


def _nodes(bindings: list[Any]) -> list[frozenset[str]]:
    """Nodes of each binding: its own, or those of the bindings that use it where it has no name."""
    users: dict[Any, set[str]] = {}
    found: list[frozenset[str]] = []
    for binding in reversed(bindings):
        own = _node_of(binding.var)
        nodes = frozenset(users.get(binding.var, ())) if own is None else frozenset([own] if own else [])
        found.append(nodes)
        for operand in relax.analysis.free_vars(binding.value):
            users.setdefault(operand, set()).update(nodes)
    return found[::-1]


def _found_again(fused: Any, values: "_Values", known: Mapping[Any, frozenset[str]]) -> dict[str, frozenset[str]]:
    nodes: dict[str, frozenset[str]] = {}
    again = values.over(fused["main"].params)
    for binding in (binding for block in fused["main"].body.blocks for binding in block.bindings):
        function = _function_of(binding.value)
        inner = fused[function] if function else None
        if _is_kernel(inner) and isinstance(inner, relax.Function):
            numbers, again.numbers[binding.var] = _inside(inner, again, binding.value.args)
        else:
            numbers = [again.bind(binding.var, binding.value)]
        found = frozenset[str]().union(*(known.get(number, frozenset()) for number in numbers))
        for kernel in _kernels_of(fused, function, set()):
            nodes[kernel] = nodes.get(kernel, frozenset()) | found
    return nodes


def _kernels_of(mod: Any, function: str, seen: set[str]) -> set[str]:
    """The function, if it is a kernel; those that it comes to, if it is a loop's."""
    if not function or function in seen:
        return set()
    seen.add(function)
    if _is_kernel(mod[function]):
        return {function}
    called: list[str] = []
    relax.analysis.post_order_visit(mod[function], lambda expr: called.append(_function_of(expr)))
    return set[str]().union(*(_kernels_of(mod, name, seen) for name in called))


def _is_kernel(function: Any) -> bool:
    """Whether it is TIR, or fusion's."""
    return not isinstance(function, relax.Function) or bool(function.attrs and function.attrs.get("Primitive"))


def _function_of(value: Any) -> str:
    if operator_name(value) == "relax.call_tir":
        return str(value.args[0].name_hint)
    direct = isinstance(value, tvm.ir.Call) and isinstance(value.op, tvm.ir.GlobalVar)
    return str(value.op.name_hint) if direct else ""


def _inside(function: Any, values: "_Values", arguments: Iterable[Any]) -> tuple[list[Any], Any]:
    """(numbers of all values that a fused function computes when it is called with `arguments`, its result's)."""
    inner = values.over(())
    inner.numbers.update(zip(function.params, map(values.number, arguments), strict=True))
    numbers = [inner.bind(b.var, b.value) for block in function.body.blocks for b in block.bindings]
    return numbers, inner.number(function.body.body)


class _Values:
    """Numbers of values: equal where the same operators compute them from the same parameters and constants."""

    def __init__(self, parameters: Iterable[Any]) -> None:
        self.numbers: dict[Any, Any] = {var: ("parameter", at) for at, var in enumerate(parameters)}
        self._by_key: dict[Any, int] = {}
        self._fields: dict[Any, tuple[Any, ...]] = {}

    def over(self, parameters: Iterable[Any]) -> "_Values":
        """The same numbering, for variables of another function."""
        other = _Values(parameters)
        other._by_key, other._fields = self._by_key, self._fields
        return other

    def bind(self, var: Any, value: Any) -> Any:
        """The number of `value`, which `var` has from now on."""
        self.numbers[var] = self.number(value)
        return self.numbers[var]

    def number(self, expr: Any) -> Any:
        if isinstance(expr, relax.Var):
            return self.numbers.get(expr, expr)
        if isinstance(expr, relax.TupleGetItem) and (fields := self._fields.get(self.number(expr.tuple_value))):
            return fields[expr.index]
        number = self._by_key.setdefault(self._key(expr), len(self._by_key))
        if isinstance(expr, relax.Tuple):
            self._fields[number] = tuple(map(self.number, expr.fields))
        return number

    def _key(self, expr: Any) -> Any:
        if isinstance(expr, tvm.ir.Call):
            operator = expr.op.name if isinstance(expr.op, tvm.ir.Op) else self.number(expr.op)
            return operator, *map(self.number, expr.args)
        if isinstance(expr, relax.Tuple):
            return "tuple", *map(self.number, expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            return "item", self.number(expr.tuple_value), expr.index
        if isinstance(expr, tvm.ir.GlobalVar):
            return "function", str(expr.name_hint)
        if is_constant(expr) and prod(expr.value.shape) <= _SMALL:
            array = expr.value.numpy()
            return "value", str(array.dtype), array.shape, array.tobytes()
        if is_constant(expr):
            return expr
        return "other", str(expr)


def _node_of(var: Any) -> str | None:
    """The node in a variable's name: empty for what belongs to none, None where the name says nothing."""
    # The builder adds a number to a name that is taken.
    found = _NAMED.match(str(var.name))
    return None if found is None else bytes.fromhex(found[1]).decode()


def _is_one_block(function: Any) -> bool:
    """Whether it has no control flow."""
    blocks = function.body.blocks
    return len(blocks) == 1 and isinstance(blocks[0], relax.DataflowBlock)


def _renamed(mod: Any, name: Callable[[Any, int], str]) -> Any:
    """The module with variables of `main` called what `name` says of (variable, position)."""
    main = mod["main"]
    names = {b.var: name(b.var, at) for at, b in enumerate(main.body.blocks[0].bindings)}
    new_mod = mod.clone()
    new_mod["main"] = _Renamer(names).visit_expr(main)
    return new_mod


@relax.expr_functor.mutator
class _Renamer(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, names: Mapping[Any, str]) -> None:
        super().__init__()
        self._names = names

    def visit_var_binding_(self, binding: Any) -> None:
        value = self.visit_expr(binding.value)
        kind = relax.DataflowVar if isinstance(binding.var, relax.DataflowVar) else relax.Var
        var = kind(self._names[binding.var], binding.var.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, value))
        self.set_var_remap(binding.var, var)
