"""Activations of recurrent operators, as tensor expressions: names, defaults and parameters are ONNX's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from tunefarm_coordinator.models.operators.family import Unsupported

Formula = Callable[[Any, float, float], Any]


@dataclass(frozen=True)
class Activation:
    """One activation with its parameters; what it does not have is 0."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, tensor: Any) -> Any:
        """The activated tensor (`te.Tensor`), element by element."""
        formula = _FORMULAS[self.name]
        return te.compute(tensor.shape, lambda *at: formula(tensor[at], self.alpha, self.beta), self.name)


def parsed(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Activation]:
    """The activations with the parameters that each takes from the two lists, in order, or else its defaults.

    Raises:
        Unsupported: ONNX has no such activation.
    """
    left = iter(alphas), iter(betas)
    return [_parsed(name, *left) for name in names]


def _parsed(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    known = name.lower()
    if known not in _FORMULAS:
        raise Unsupported(f"the activation {name} is not one of ONNX's")
    alpha, beta = _DEFAULTS.get(known, (None, None))
    return Activation(
        known,
        0.0 if alpha is None else next(alphas, alpha),
        0.0 if beta is None else next(betas, beta),
    )


# Activations with parameters: their defaults in ONNX Runtime, None for one that the activation does not have.
_DEFAULTS: dict[str, tuple[float | None, float | None]] = {
    "affine": (0.0, 0.0),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "scaledtanh": (0.0, 0.0),
    "thresholdedrelu": (1.0, None),
}


def _of(value: Any, number: float) -> Any:
    return tirx.const(number, value.dtype)


_FORMULAS: dict[str, Formula] = {
    "affine": lambda x, alpha, beta: x * _of(x, alpha) + _of(x, beta),
    "elu": lambda x, alpha, _: tirx.Select(x >= 0, x, _of(x, alpha) * (tirx.exp(x) - _of(x, 1))),
    "hardsigmoid": lambda x, alpha, beta: tirx.max(_of(x, 0), tirx.min(_of(x, 1), x * _of(x, alpha) + _of(x, beta))),
    "leakyrelu": lambda x, alpha, _: tirx.Select(x >= 0, x, x * _of(x, alpha)),
    "relu": lambda x, *_: tirx.max(x, _of(x, 0)),
    "scaledtanh": lambda x, alpha, beta: _of(x, alpha) * tirx.tanh(x * _of(x, beta)),
    "sigmoid": lambda x, *_: tirx.sigmoid(x),
    "softplus": lambda x, *_: tirx.max(x, _of(x, 0)) + tirx.log(_of(x, 1) + tirx.exp(-tirx.abs(x))),
    "softsign": lambda x, *_: x / (_of(x, 1) + tirx.abs(x)),
    "tanh": lambda x, *_: tirx.tanh(x),
    "thresholdedrelu": lambda x, alpha, _: tirx.Select(x > _of(x, alpha), x, _of(x, 0)),
}
