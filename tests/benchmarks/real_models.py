"""`tunefarm tune` on the real models of the tests' zoo: does it succeed, is it right, is it faster?

    python tests/benchmarks/real_models.py [--trials-per-kernel 2] [--only squeezenet …] [--out real_models.json]

Each run is the command that a user types, with an empty store. Latencies are the job's own: tuned, untuned and ONNX
Runtime in turn on the device, each in its own process. Takes half an hour on two cores. Ends with 1 if a model failed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from work_folder import add_work_option, work_folder

BIN = Path(sys.executable).parent
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.model_zoo import WILD, ZOO, model_path  # noqa: E402 - after the path that it is found by

MODELS = {**ZOO, **WILD}


def shapes_of(name: str) -> list[str]:
    """The options that fix the model's input shapes."""
    return [
        part
        for tensor, shape in MODELS[name].shapes.items()
        if shape  # a scalar has no sizes to give
        for part in ("--input", f"{tensor}={','.join(map(str, shape))}")
    ]


def tune(name: str, work: Path, trials_per_kernel: int) -> dict[str, Any]:
    """The command's JSON, its exit code and its wall seconds."""
    options = ["--json", "--trials-per-kernel", str(trials_per_kernel), "--out", str(work / name / "package")]
    started = time.perf_counter()
    done = subprocess.run(
        [str(BIN / "tunefarm"), "tune", str(model_path(name)), *shapes_of(name), *options],
        env={**os.environ, "XDG_DATA_HOME": str(work / name / "data")},
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    document = json.loads(done.stdout) if done.stdout else {}
    return {**document, "exit": done.returncode, "wall": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials-per-kernel", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(MODELS), choices=list(MODELS), metavar="MODEL")
    add_work_option(parser)
    parser.add_argument("--out", type=Path, default=Path("real_models.json"))
    given = parser.parse_args()
    given.work = work_folder(parser, given.work)
    results = {}
    for name in given.only:
        Console(stderr=True).print(f"tuning {name}")
        results[name] = tune(name, given.work, given.trials_per_kernel)
        given.out.write_text(json.dumps(results, indent=2))
    show(results)
    sys.exit(any(result.get("state") != "SUCCEEDED" for result in results.values()))


def show(results: dict[str, dict[str, Any]]) -> None:
    table = Table(title="real models")
    for column in ("model", "state", "tasks", "trials", "s", "tuned ms", "untuned ms", "ONNX Runtime ms"):
        table.add_column(column)
    for column in ("tuned / untuned", "tuned / ONNX Runtime", "max rel error"):
        table.add_column(column)
    for name, result in results.items():
        latency = result.get("latency_ms") or {}
        tuned, untuned, peer = (latency.get(each) for each in ("tuned", "untuned", "onnxruntime"))
        table.add_row(
            name,
            str(result.get("state")),
            str(len(result.get("tasks", []))),
            str(result.get("trials", {}).get("charged")),
            f"{result['wall']:.0f}",
            *(f"{value:.3f}" if value else "-" for value in (tuned, untuned, peer)),
            f"{tuned / untuned:.3f}" if tuned and untuned else "-",
            f"{tuned / peer:.3f}" if tuned and peer else "-",
            f"{result.get('max_rel_error') or float('nan'):.1e}",
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
