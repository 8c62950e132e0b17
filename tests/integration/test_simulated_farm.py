"""The benchmark of a thousand fake agents, small: so that it can't rot, and nothing is lost or counted twice."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "simulated_farm.py"


def test_nothing_is_lost_or_counted_twice(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = {"agents": 40, "trials": 1600, "item-seconds": 0.02, "killed": 0.1, "runs": 1, "out": out}
    command = [sys.executable, str(SCRIPT), "--quiet"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(out.read_text())
    assert result["trials"] == 1600
    assert result["killed"] > 5
    assert (result["lost"], result["twice"]) == (0, 0)
