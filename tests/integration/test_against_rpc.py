"""The benchmark against plain TVM's RPC, small: so that it can't rot. Its figures come from `make bench-rpc`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "against_rpc.py"


@pytest.mark.slow
def test_everybody_measures_the_same_candidates(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = {"trials": 16, "trials-with-delay": 8, "rounds": 1, "rounds-with-delay": 1, "workers": "1", "out": out}
    command = [sys.executable, str(SCRIPT)]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    near, far = json.loads(out.read_text())
    for results in (near, far):
        assert set(results["failed"].values()) == {0}
        assert results["overhead_seconds"].keys() == {"tunefarm", "tunefarm (A/A)", "bare", "plain 1"}
    # Not a measurement: an order of magnitude, with a factor of five in hand.
    assert far["ratios"]["tunefarm"]["median"] > 4
