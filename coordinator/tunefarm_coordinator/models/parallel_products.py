"""Products of one value with several weights, such as a layer's query, key and value, become one product, cut up.

`relax.transform.CombineParallelMatmul` does so for weights that are variables; an imported model's are constants.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import relax

from tunefarm_coordinator.models.constants import constant, is_constant, operator_name, static_shape

_PRODUCT = "relax.matmul"


@dataclass
class _Group:
    """Products with one first operand. `joined`: the one in their place, once it is emitted."""

    weights: list[Any] = field(default_factory=list)
    joined: Any | None = None


def join_products(mod: Any) -> Any:
    """The module with products that share their first operand, and have constant matrices for the second, as one."""
    groups: dict[Any, _Group] = defaultdict(_Group)
    members: dict[Any, tuple[_Group, int]] = {}

    def visit(expr: Any) -> None:
        if operator_name(expr) != _PRODUCT or not is_constant(expr.args[1]) or not isinstance(expr.args[0], relax.Var):
            return
        shape = static_shape(expr.args[1])
        if shape is None or len(shape) != 2 or expr.attrs.out_dtype:
            return
        group = groups[expr.args[0], str(expr.args[1].ty.dtype)]
        members[expr] = group, len(group.weights)
        group.weights.append(expr.args[1])

    relax.analysis.post_order_visit(mod["main"], visit)
    if all(len(group.weights) == 1 for group in groups.values()):
        return mod
    new_mod = mod.clone()
    new_mod["main"] = _Joiner({e: found for e, found in members.items() if len(found[0].weights) > 1}).visit_expr(
        mod["main"]
    )
    return relax.transform.Normalize()(new_mod)


@relax.expr_functor.mutator
class _Joiner(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, members: dict[Any, tuple[_Group, int]]) -> None:
        super().__init__()
        self._members = members

    def visit_call_(self, call: Any) -> Any:
        found = self._members.get(call)
        if found is None:
            return super().visit_call_(call)
        group, position = found
        if group.joined is None:
            weights = constant(np.concatenate([weight.value.numpy() for weight in group.weights], axis=1))
            group.joined = self.builder_.emit(relax.op.matmul(self.visit_expr(call.args[0]), weights))
        widths = [int(weight.ty.shape[1]) for weight in group.weights]
        begin = sum(widths[:position])
        last = len(group.joined.ty.shape) - 1
        return relax.op.strided_slice(group.joined, [last], [begin], [begin + widths[position]])
