"""`make cases`: tunes every small model that is easily got wrong, one trial a kernel, through one coordinator.

    python -m tests.cases.tune_all [--only PATTERN] [--out cases.json]

An hour on two cores. Ends with 1 if a job failed; what is refused before it begins is counted apart.
"""

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from tests.cases.collection import CASES, FILES
from tests.cases.judging import sizes, write
from tests.programs import agent, coordinator, tunefarm
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.onnx_file import read_signature

SUCCEEDED, REFUSED, FAILED = "SUCCEEDED", "refused", "FAILED"
# The command's exit code where what it was given is refused.
REFUSAL = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name matches this regular expression")
    parser.add_argument("--out", type=Path, default=Path("cases.json"), help="every case's outcome")
    given = parser.parse_args()
    console = Console(stderr=True, soft_wrap=True)
    names = [name for name in (*CASES, *FILES) if re.search(given.only, name)]
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="cases-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        with coordinator(home) as (_, address), agent(home, address) as board:
            board.wait_for("attached")
            for name in track(names, "cases", console=console):
                results[name] = tuned(name, home, address, Path(folder))
                given.out.write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results.items():
        if result["outcome"] != SUCCEEDED:
            console.print(f"{result['outcome']} {name}: {result['message']}", markup=False)
    console.print(dict(Counter(result["outcome"] for result in results.values())))
    sys.exit(any(result["outcome"] == FAILED for result in results.values()))


def tuned(name: str, home: Path, address: str, folder: Path) -> dict[str, Any]:
    """What the command that a user types came to."""
    path = write(name, folder)
    out = folder / f"{name}-package"
    options = ["--connect", address, "--trials-per-kernel", "1", "--json", "--out", str(out)]
    done = tunefarm(home, "tune", str(path), *_shapes(path), *options, timeout=900.0)
    document = json.loads(done.stdout) if done.stdout.strip() else {}
    charged = (document.get("trials") or {}).get("charged", 0)
    if done.returncode == 0 and document.get("state") == SUCCEEDED and (out / "model.so").exists():
        outcome = SUCCEEDED
    else:
        outcome = REFUSED if done.returncode == REFUSAL and not charged else FAILED
    message = "" if outcome == SUCCEEDED else (done.stderr.strip().splitlines() or [""])[-1]
    return {"outcome": outcome, "charged": charged, "exit": done.returncode, "message": message}


def _shapes(path: Path) -> list[str]:
    try:
        given = sizes(read_signature(path))
    except InvalidInput:
        return []
    return [word for tensor, shape in given.items() for word in ("--input", f"{tensor}={','.join(map(str, shape))}")]


if __name__ == "__main__":
    main()
