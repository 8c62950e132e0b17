"""Minimal filtering F(m, 3): m results of a filter of three weights with m + 2 multiplications.

Matrices as in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), sections 4.1 and
4.3. Along both axes of an image F(2 x 2, 3 x 3) takes 16 multiplications where the direct sum takes 36, F(4 x 4, 3 x 3)
36 where it takes 144. They subtract numbers of like size: in float32 errors grow to about 2 and 10 times those of the
direct sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Minimal:
    """F(`results`, 3). Its matrices turn a filter, an input and the products into the results:
    results @ ((weights @ g) * (inputs @ d))."""

    outputs: int
    weights: Matrix
    inputs: Matrix
    results: Matrix

    @property
    def points(self) -> int:
        """Multiplications along one axis, and values of the input that they need."""
        return len(self.inputs)


_F2 = Minimal(
    2,
    ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ((1, 1, 1, 0), (0, 1, -1, -1)),
)
_F4 = Minimal(
    4,
    (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
)
ALGORITHMS = {algorithm.outputs: algorithm for algorithm in (_F2, _F4)}


def along_both_axes(matrix: Matrix, values: Sequence[Sequence[Any]]) -> tuple[list[Any], list[list[Any]]]:
    """matrix @ values @ matrix transposed, of a square table of TIR expressions.

    Returns (statements that bind what is used more than once, table of expressions). Unless they are bound TVM's passes
    walk the same sums again for each result.
    """
    statements: list[Any] = []

    def bound(value: Any) -> Any:
        variable = tirx.Var("t", "float32")
        statements.append(tirx.Bind(variable, value))
        return variable

    given = [[bound(value) for value in row] for row in values]
    columns = list(zip(*given, strict=True))
    half = [[bound(_sum(row, column)) for column in columns] for row in matrix]
    return statements, [[_sum(row, line) for row in matrix] for line in half]


def operations(matrix: Matrix) -> int:
    """Vector instructions of `along_both_axes`, without loads and stores."""
    along_one = sum(sum(1 for factor in row if factor) - 1 or 1 for row in matrix)
    return along_one * (len(matrix[0]) + len(matrix))


def _sum(factors: Sequence[float], terms: Sequence[Any]) -> Any:
    """The terms times their factors, added up; one that is positive first, so that nothing is negated."""
    used = sorted(((factor, term) for factor, term in zip(factors, terms, strict=True) if factor), key=_is_negative)
    total: Any = None
    for factor, term in used:
        product = term if abs(factor) == 1 else term * tirx.FloatImm("float32", abs(factor))
        if total is None:
            total = product if factor > 0 else tirx.FloatImm("float32", 0.0) - product
        else:
            total = total + product if factor > 0 else total - product
    return total


def _is_negative(term: tuple[float, Any]) -> bool:
    return term[0] < 0
