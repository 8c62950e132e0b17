"""Weights of products that are so small that no sum can show them become zero.

Training with weight decay leaves numbers below 2^-126 in channels that nothing uses (a quarter of a million in one OCR
detector). CPUs take a hundred cycles and more for each multiplication with one, and for each sum that is as small.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tunefarm_coordinator.models.constants import constant, is_constant, operator_name

_PRODUCTS = ("relax.matmul", "relax.nn.conv")
# Against the largest weight; float32 shows 2^-24 of a sum.
_UNSEEN = 2.0**-64
# Above the least normal number: what makes denormal products with activations.
_MARGIN = 2.0**36


def without_tiny_weights(mod: Any) -> Any:
    """The module with constant factors of its products and convolutions cleared of what `cleared` clears."""
    changed = mod.clone()
    changed["main"] = _Clearing().visit_expr(mod["main"])
    return changed


def cleared(weights: NDArray[Any]) -> NDArray[Any]:
    """Zeros for denormal numbers, and for those near them that are less than 2^-64 of the largest; `weights` itself
    where there are none. Floats of 32 and 64 bits; others are computed in a wider type, where they are not denormal."""
    if weights.dtype not in (np.float32, np.float64) or weights.size == 0:
        return weights
    sizes = np.abs(weights)
    least = float(np.finfo(weights.dtype).tiny)
    largest = float(np.max(sizes, where=np.isfinite(sizes), initial=0))
    bound = max(least, min(least * _MARGIN, largest * _UNSEEN))
    tiny = (sizes < bound) & (sizes > 0)
    return np.where(tiny, weights.dtype.type(0), weights) if tiny.any() else weights


@relax.expr_functor.mutator
class _Clearing(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        if not operator_name(call).startswith(_PRODUCTS):
            return call
        arguments = [self._cleared(argument) for argument in call.args]
        if all(new is old for new, old in zip(arguments, call.args, strict=True)):
            return call
        return type(call)(call.op, arguments, call.attrs, call.ty_args)

    def _cleared(self, argument: Any) -> Any:
        if not is_constant(argument):
            return argument
        before = argument.value.numpy()
        after = cleared(before)
        return argument if after is before else constant(after)
