"""Reductions over some axes, over none, and over axes of no elements."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from tvm import relax

from tunefarm_coordinator.models.constants import constant
from tunefarm_coordinator.models.operators.arguments import dtype_of, is_float, known, shape_of
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator


def _reduction(reduce: Callable[[Operator, Any, list[int], bool], Any], empty: Callable[[str], Any]) -> Conversion:
    """`reduce` of (operator, value, axes, keepdims) makes Relax; `empty` of a dtype is what no elements come to."""

    def convert(operator: Operator) -> Any:
        value, keeps = operator.inputs[0], bool(operator.attributes.get("keepdims", 1))
        axes, shape, dtype = _axes(operator), shape_of(operator), dtype_of(operator)
        if axes and 0 in [shape[axis] for axis in axes]:
            return constant(np.full(_reduced(shape, axes, keeps), empty(dtype), dtype))
        if dtype != "bool":
            return reduce(operator, value, axes, keeps)
        small = operator.emit(relax.op.astype(value, "int8"))
        return relax.op.astype(operator.emit(reduce(operator, small, axes, keeps)), "bool")

    return convert


def _axes(operator: Operator) -> list[int]:
    """Empty where nothing is reduced."""
    rank = len(shape_of(operator))
    given = known(operator, 1)
    axes = operator.attributes.get("axes") if given is None else given.reshape(-1)
    if axes is None or len(axes) == 0:
        return [] if operator.attributes.get("noop_with_empty_axes") else list(range(rank))
    return sorted(int(axis) % rank for axis in axes)


def _reduced(shape: tuple[int, ...], axes: list[int], keeps: bool) -> list[int]:
    return [1 if at in axes else size for at, size in enumerate(shape) if keeps or at not in axes]


def _plain(reduce: Callable[..., Any]) -> Callable[[Operator, Any, list[int], bool], Any]:
    def made(operator: Operator, value: Any, axes: list[int], keeps: bool) -> Any:
        if not axes:
            return value
        many = prod(shape_of(operator)[axis] for axis in axes)
        if many == 1:
            return relax.op.reshape(value, _reduced(shape_of(operator), axes, keeps))
        return reduce(value, axes, keeps)

    return made


def _of(before: Callable[[Any], Any], after: Callable[[Any], Any]) -> Callable[[Operator, Any, list[int], bool], Any]:
    """A sum of what `before` makes of the elements."""

    def made(operator: Operator, value: Any, axes: list[int], keeps: bool) -> Any:
        each = operator.emit(before(value))
        return after(operator.emit(_plain(relax.op.sum)(operator, each, axes, keeps)))

    return made


def _log_sum_exp(operator: Operator, value: Any, axes: list[int], keeps: bool) -> Any:
    """The largest goes first, so that nothing overflows; where it is infinite there is nothing to take away."""
    most = operator.emit(_plain(relax.op.max)(operator, value, axes, True))
    finite = operator.emit(relax.op.isfinite(most))
    taken = operator.emit(relax.op.where(finite, most, relax.const(0, dtype_of(operator))))
    powers = operator.emit(relax.op.exp(operator.emit(relax.op.subtract(value, taken))))
    total = operator.emit(_plain(relax.op.sum)(operator, powers, axes, True))
    result = operator.emit(relax.op.add(operator.emit(relax.op.log(total)), taken))
    return result if keeps else relax.op.reshape(result, _reduced(shape_of(operator), axes, False))


def _mean(operator: Operator, value: Any, axes: list[int], keeps: bool) -> Any:
    if is_float(dtype_of(operator)):
        return _plain(relax.op.mean)(operator, value, axes, keeps)
    total = operator.emit(_plain(relax.op.sum)(operator, value, axes, keeps))
    count = prod(shape_of(operator)[axis] for axis in axes)
    return relax.op.divide(total, relax.const(count, dtype_of(operator)))


def _lowest(dtype: str) -> Any:
    return -np.inf if is_float(dtype) else False if dtype == "bool" else np.iinfo(dtype).min


def _highest(dtype: str) -> Any:
    return np.inf if is_float(dtype) else True if dtype == "bool" else np.iinfo(dtype).max


def _same(value: Any) -> Any:
    return value


def _squared(value: Any) -> Any:
    return relax.op.multiply(value, value)


CONVERSIONS: dict[Key, Conversion] = {
    ("", "ReduceL1"): _reduction(_of(relax.op.abs, _same), lambda _: 0),
    ("", "ReduceL2"): _reduction(_of(_squared, relax.op.sqrt), lambda _: 0),
    ("", "ReduceLogSum"): _reduction(_of(_same, relax.op.log), lambda _: -np.inf),
    ("", "ReduceLogSumExp"): _reduction(_log_sum_exp, lambda _: -np.inf),
    ("", "ReduceMax"): _reduction(_plain(relax.op.max), _lowest),
    ("", "ReduceMean"): _reduction(_mean, lambda _: np.nan),
    ("", "ReduceMin"): _reduction(_plain(relax.op.min), _highest),
    ("", "ReduceProd"): _reduction(_plain(relax.op.prod), lambda _: 1),
    ("", "ReduceSum"): _reduction(_plain(relax.op.sum), lambda _: 0),
    ("", "ReduceSumSquare"): _reduction(_of(_squared, _same), lambda _: 0),
}
