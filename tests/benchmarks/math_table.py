"""`make math-table`: the errors of vector mathematics over all of float32, into docs/mathematics.md. Needs no device.

    python tests/benchmarks/math_table.py [--step 61] [--only NAME ...] [--out docs/mathematics.md]

Every `step`-th float32 (61: 70 million of each function, some minutes; 1: all, some hours), against float64.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.mathematics import Array, applied, edges, errors, pairs, reference
from tunefarm_coordinator.engines.mathematics.lowering import FUNCTIONS

_CHUNK = 1 << 22
_PAGE = Path(__file__).parents[2] / "docs" / "mathematics.md"
_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->\n"
_RANGES = {"sin": 2.0**50, "cos": 2.0**50, "tan": 2.0**50}
_SHOWN = (0.0, -0.0, np.inf, -np.inf, np.nan, -1.0)


@dataclass
class Row:
    """What was found of one function. `worst`: the arguments of the largest error."""

    name: str
    largest: float = 0.0
    worst: tuple[float, ...] = ()
    total: float = 0.0
    count: int = 0

    def add(self, values: Sequence[Array]) -> None:
        """Takes the errors at `values` in."""
        counted = _counted(self.name, values)
        if not counted.any():
            return
        found = errors(applied(self.name, *values), reference(self.name, *values))[counted]
        at = int(np.argmax(found))
        if found[at] > self.largest:
            kept = [value[counted][at] for value in values]
            self.largest, self.worst = float(found[at]), tuple(map(float, kept))
        self.total += float(found.sum())
        self.count += found.size


def _counted(name: str, values: Sequence[Array]) -> Array:
    """Where the stated error holds: within the function's range, and where results are no denormals of sigmoid."""
    counted = np.ones(values[0].shape, bool)
    if name in _RANGES:
        counted &= ~(np.abs(values[0]) >= _RANGES[name])
    if name == "sigmoid":
        counted &= ~((values[0] < np.float32(-87.336)) & (values[0] > np.float32(-104.5)))
    return counted


def _arguments(name: str, step: int) -> Iterator[Sequence[Array]]:
    if name == "pow":
        yield pairs((1 << 32) // step // 4)
        return
    yield [edges()]
    span = _CHUNK * step
    for first in range(0, 1 << 32, span):
        bits = np.arange(first, min(first + span, 1 << 32), step, dtype=np.uint64).astype(np.uint32)
        yield [bits.view(np.float32)]


def measured(name: str, step: int) -> Row:
    """The row of a function, at every `step`-th float32."""
    row = Row(name)
    for values in _arguments(name, step):
        row.add(values)
    return row


def _special(name: str) -> str:
    if name == "pow":
        return "as C's `powf`"
    values = applied(name, np.array(_SHOWN, np.float32))
    return ", ".join(f"{name}({at:g}) = {value:g}" for at, value in zip(_SHOWN, values, strict=True))


def _line(row: Row) -> str:
    worst = ", ".join(f"{value:.9g}" for value in row.worst)
    figures = f"{row.largest:.2f} | {worst} | {row.total / row.count:.3f} | {row.count:,}"
    return f"| {row.name} | {figures} | {_special(row.name)} |\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="errors of vector mathematics")
    parser.add_argument("--step", type=int, default=61)
    parser.add_argument("--only", nargs="*", choices=list(FUNCTIONS), default=list(FUNCTIONS))
    parser.add_argument("--out", type=Path, default=_PAGE)
    given = parser.parse_args()
    rows = []
    for name in given.only:
        rows.append(measured(name, given.step))
        print(_line(rows[-1]), end="", flush=True)
    if given.only == list(FUNCTIONS):
        _write(given.out, "".join(map(_line, rows)))
    wrong = [row.name for row in rows if row.largest > FUNCTIONS[row.name].error]
    if wrong:
        print(f"larger than stated: {', '.join(wrong)}", file=sys.stderr)
    return int(bool(wrong))


def _write(page: Path, lines: str) -> None:
    before, rest = page.read_text().split(_BEGIN)
    _, after = rest.split(_END)
    head = "| Function | Largest error, ulp | at | Mean | Arguments | Special values |\n|---|---:|---|---:|---:|---|\n"
    page.write_text(f"{before}{_BEGIN}{head}{lines}{_END}{after}")


if __name__ == "__main__":
    sys.exit(main())
