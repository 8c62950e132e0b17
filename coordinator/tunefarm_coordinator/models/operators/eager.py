"""Arithmetic on tensors that are mostly weights: in NumPy where all are constants, else left to the model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax

from tunefarm_coordinator.models.constants import constant, is_constant


class Eager:
    """Operations whose result is a constant where their operands are."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def item(self, value: Any, index: int) -> Any:
        """value[index]"""
        return self._made(
            lambda it: it[index],
            lambda it: relax.op.squeeze(relax.op.strided_slice(it, [0], [index], [index + 1]), [0]),
            value,
        )

    def rows(self, value: Any, begin: int, end: int) -> Any:
        """value[begin:end]"""
        return self._made(lambda it: it[begin:end], lambda it: relax.op.strided_slice(it, [0], [begin], [end]), value)

    def transposed(self, matrix: Any) -> Any:
        return self._made(lambda it: it.T, lambda it: relax.op.permute_dims(it, (1, 0)), matrix)

    def cast(self, value: Any, dtype: str) -> Any:
        if str(value.ty.dtype) == dtype:
            return value
        return self._made(lambda it: it.astype(dtype), lambda it: relax.op.astype(it, dtype), value)

    def sum(self, left: Any, right: Any) -> Any:
        return self._made(lambda a, b: a + b, relax.op.add, left, right)

    def joined(self, parts: Sequence[Any]) -> Any:
        """The parts one after the other, along the first axis."""
        return self._made(lambda *its: np.concatenate(its), lambda *its: relax.op.concat(list(its), axis=0), *parts)

    def _made(self, fold: Callable[..., Any], emitted: Callable[..., Any], *values: Any) -> Any:
        if all(is_constant(value) for value in values):
            return constant(fold(*(value.value.numpy() for value in values)))
        return self._builder.emit(emitted(*values))
