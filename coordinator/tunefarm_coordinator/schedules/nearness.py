"""Which known kernels are nearest to a new one. Pure."""

import math
from collections.abc import Mapping, Sequence

Shapes = Sequence[Sequence[int]]


def nearest(shapes: Shapes, known: Mapping[str, Shapes], count: int) -> list[str]:
    """Names of the `count` whose arguments' shapes are nearest, nearest first; of equally near ones the first by name.

    The distance is the sum over all sizes of |log(a / b)|: what is half as wide is as far as what is twice as wide.
    """
    distances = {name: distance(shapes, others) for name, others in known.items()}
    near = sorted((far, name) for name, far in distances.items() if math.isfinite(far))
    return [name for _, name in near[:count]]


def distance(one: Shapes, other: Shapes) -> float:
    """0 for the same shapes, infinite where they can't be compared: other ranks, or other numbers of arguments."""
    if [len(shape) for shape in one] != [len(shape) for shape in other]:
        return math.inf
    pairs = [(a, b) for here, there in zip(one, other, strict=True) for a, b in zip(here, there, strict=True)]
    if any((a <= 0) != (b <= 0) for a, b in pairs):
        return math.inf
    return sum(abs(math.log(a / b)) for a, b in pairs if a > 0)
