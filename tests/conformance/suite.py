"""`make conformance`: ONNX's backend tests through preparation, default schedules, build and run.

    python -m tests.conformance.suite [--only PATTERN] [--jobs 2] [--limit 60] [--out conformance.json]

Ten minutes on two cores. Ends with 1 if a case was wrong, raised what is no refusal, crashed or hung. The page in docs
is written only by a run of all cases.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import onnx
import onnxslim  # noqa: F401 - children find it imported
import tvm
from rich.console import Console
from rich.progress import track

from tests.conformance.cases import Case, all_cases
from tests.conformance.scope import frozen, outside
from tests.conformance.supervision import judged
from tests.conformance.table import OUTCOMES, Row, markdown, summary
from tests.conformance.verdict import PASSED, REFUSED, judge
from tunefarm_coordinator.models.target import host_target

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name or operator matches this regular expression")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one case")
    parser.add_argument("--out", type=Path, default=Path("conformance.json"), help="every case's outcome")
    given = parser.parse_args()
    console = Console(stderr=True, soft_wrap=True)
    with console.status("ONNX makes its cases"):
        cases = all_cases()
    pattern = re.compile(given.only, re.IGNORECASE)
    origins = {case.name: case for case in cases}
    cases = [case for case in cases if pattern.search(case.name) or pattern.search(case.operator)]
    rows = results(cases, origins, given.jobs, given.limit, console)
    given.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if not given.only:
        PAGE.write_text(markdown(rows, f"ONNX {onnx.__version__}, TVM {tvm.__version__}"))
    _tell(rows, console)
    sys.exit(any(row.outcome in OUTCOMES and row.outcome not in (PASSED, REFUSED) for row in rows))


def results(cases: list[Case], origins: dict[str, Case], at_once: int, limit_s: float, console: Console) -> list[Row]:
    """A row for each case, in the cases' order."""
    host_target()
    left_out = {case.name: reason for case in cases if (reason := outside(case)) is not None}
    counted = [case for case in cases if case.name not in left_out]
    jobs = [partial(judge, frozen(case, origins.get(case.name.split("_expanded")[0]))) for case in counted]
    found = {
        case.name: Row(case.name, case.operator, left_out[case.name], "", 0.0)
        for case in cases
        if case.name in left_out
    }
    for index, verdict, seconds in track(
        judged(jobs, at_once, limit_s), "conformance", total=len(jobs), console=console
    ):
        case = counted[index]
        found[case.name] = Row(case.name, case.operator, verdict.outcome, verdict.reason, round(seconds, 2))
    return [found[case.name] for case in cases]


def _tell(rows: list[Row], console: Console) -> None:
    for row in rows:
        if row.outcome in OUTCOMES and row.outcome != PASSED:
            console.print(f"{row.outcome:8} {row.name}: {row.reason}", markup=False, highlight=False)
    console.print(summary(rows), highlight=False)


if __name__ == "__main__":
    main()
