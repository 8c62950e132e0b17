"""The table that the suite ends in: operator by operator, and why what was refused was refused."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.conformance.verdict import CRASH, ERROR, HANG, PASSED, REFUSED, WRONG

OUTCOMES = (PASSED, REFUSED, WRONG, ERROR, CRASH, HANG)


@dataclass(frozen=True)
class Row:
    """One case's end. `outcome`: one of `OUTCOMES`, or why it does not count."""

    name: str
    operator: str
    outcome: str
    reason: str
    seconds: float


def summary(rows: Sequence[Row]) -> str:
    """One line."""
    counts = Counter(row.outcome for row in rows)
    counted = sum(counts[outcome] for outcome in OUTCOMES)
    parts = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)
    left = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()) if outcome not in OUTCOMES)
    share = 100 * counts[PASSED] / counted if counted else 0.0
    return f"{parts}: {share:.1f}% of {counted} passed; not counted: {left or 'none'}"


def markdown(rows: Sequence[Row], versions: str) -> str:
    """The page."""
    lines = [
        "# Conformance",
        "",
        "Made by `make conformance`: ONNX's own backend tests, each prepared, compiled with default schedules for the",
        "host's CPU, run, and compared with ONNX's own answers (values, sizes and types). Inputs that say how a model",
        "is built (axes, sizes, pads) are constants, as with `--freeze`.",
        "",
        f"{versions}. {summary(rows)}.",
        "",
        "| Operator | " + " | ".join(OUTCOMES) + " | Why not |",
        "|---|" + "---:|" * len(OUTCOMES) + "---|",
    ]
    by_operator: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.outcome in OUTCOMES:
            by_operator[row.operator].append(row)
    for operator in sorted(by_operator, key=str.lower):
        lines.append(_line(operator, by_operator[operator]))
    return "\n".join(lines) + "\n"


def _line(operator: str, rows: Sequence[Row]) -> str:
    counts = Counter(row.outcome for row in rows)
    reasons = sorted({_short(row.reason) for row in rows if row.outcome != PASSED})
    cells = [str(counts[outcome] or "") for outcome in OUTCOMES]
    return f"| {operator} | " + " | ".join(cells) + f" | {'; '.join(reasons[:3])} |"


def _short(reason: str) -> str:
    """Without what differs from case to case: names of nodes and values."""
    text = re.sub(r" at node \(output [^)]*\)| at \(output [^)]*\)(, \(output [^)]*\))*", "", reason)
    return text.replace("|", "\\|")[:160]
