"""The tuners against each other: the same models, the same total of trials, one run.

    python tests/benchmarks/tuners.py [--max-trials 176] [--rounds 30] [--only squeezenet …]

Each tuning is the command that a user types, with an empty store and `--max-trials`; then the packages of a model are
timed in turn with ONNX Runtime, each in its own process, with an A/A row (one package in two processes). AutoTVM gives
its trials to the kernels that have a template; the others keep their default schedule. Takes about twenty minutes on
two cores; nothing else should run.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import Contender, Ratio, interleave, ratio
from rich.console import Console
from rich.table import Table
from work_folder import add_work_option, work_folder

BIN = Path(sys.executable).parent
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.model_zoo import ZOO, model_path  # noqa: E402 - after the path that it is found by

TUNERS = ("autoscheduler", "autotvm", "both")
MODELS = ("squeezenet", "ppocr_direction")
PEER, AA = "ONNX Runtime", "autoscheduler (A/A)"


def tune(name: str, tuner: str, work: Path, trials: int) -> dict[str, Any]:
    """The command's JSON, its exit code and its wall seconds."""
    options = ["--tuner", tuner, "--max-trials", str(trials), "--json", "--out", str(work / tuner / "package")]
    started = time.perf_counter()
    done = subprocess.run(
        [str(BIN / "tunefarm"), "tune", str(model_path(name)), *shapes(name), *options],
        env={**os.environ, "XDG_DATA_HOME": str(work / tuner / "data")},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return {**json.loads(done.stdout), "wall": time.perf_counter() - started}


def shapes(name: str) -> list[str]:
    tensors = ZOO[name].shapes.items()
    return [part for tensor, shape in tensors for part in ("--input", f"{tensor}={','.join(map(str, shape))}")]


def compare(name: str, work: Path, rounds: int, cores: int) -> dict[str, list[float]]:
    """Seconds of each package and of ONNX Runtime, in turn."""
    inputs = work / "inputs.npz"
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        key: random.standard_normal(shape).astype("float32") for key, shape in ZOO[name].shapes.items()
    }
    np.savez(inputs, **arrays)
    libraries = {tuner: work / tuner / "package" / "model.so" for tuner in TUNERS}
    libraries[AA] = libraries["autoscheduler"]
    peer = Contender(PEER, "onnxruntime", str(model_path(name)), str(inputs), "--cores", str(cores), cores=cores)
    packages = [Contender(key, "tvm", str(path), str(inputs), cores=cores) for key, path in libraries.items()]
    try:
        return interleave([peer, *packages], rounds)
    finally:
        for contender in (peer, *packages):
            contender.close()


def measure(name: str, given: argparse.Namespace, cores: int, progress: Console) -> dict[str, Any]:
    work = given.work / name
    tuned: dict[str, dict[str, Any]] = {}
    trials = given.max_trials
    for tuner in TUNERS:
        progress.print(f"{name}: {tuner}, {trials} trials")
        tuned[tuner] = tune(name, tuner, work, trials)
    progress.print(f"{name}: {given.rounds} interleaved rounds")
    seconds = compare(name, work, given.rounds, cores)
    ratios = {key: ratio(values, seconds[PEER]) for key, values in seconds.items() if key != PEER}
    ratios["A/A"] = ratio(seconds[AA], seconds["autoscheduler"])
    for tuner in TUNERS[1:]:
        ratios[f"{tuner} / autoscheduler"] = ratio(seconds[tuner], seconds["autoscheduler"])
    return {"tuned": tuned, "seconds": seconds, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-trials", type=int, default=176, help="of each tuning")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", nargs="*", default=list(MODELS), choices=list(ZOO))
    add_work_option(parser)
    parser.add_argument("--out", type=Path, default=Path("tuners.json"))
    given = parser.parse_args()
    given.work = work_folder(parser, given.work)
    cores = len(os.sched_getaffinity(0))
    progress = Console(stderr=True)
    results = {name: measure(name, given, cores, progress) for name in given.only}
    show(results)
    plain = {
        name: {**result, "ratios": {key: vars(value) for key, value in result["ratios"].items()}}
        for name, result in results.items()
    }
    given.out.write_text(json.dumps(plain, indent=2) + "\n")


def show(results: dict[str, dict[str, Any]]) -> None:
    table = Table(title="equal trials")
    for column in ("model", "tuner", "state", "kernels", "tuned", "trials", "s", "ms", "/ ONNX Runtime [95%]"):
        table.add_column(column)
    for name, result in results.items():
        for tuner in TUNERS:
            job = result["tuned"][tuner]
            touched = sum(task["charged"] > 0 for task in job["tasks"])
            table.add_row(
                name,
                tuner,
                job["state"],
                str(len(job["tasks"])),
                str(touched),
                str(job["trials"]["charged"]),
                f"{job['wall']:.0f}",
                f"{np.median(result['seconds'][tuner]) * 1e3:.2f}",
                str(result["ratios"][tuner]),
            )
    console = Console(width=140)
    console.print(table)
    for name, result in results.items():
        found: dict[str, Ratio] = result["ratios"]
        pairs = [f"{tuner} / autoscheduler" for tuner in TUNERS[1:]]
        console.print(f"{name}: " + "; ".join(f"{pair} {found[pair]}" for pair in (*pairs, "A/A")))


if __name__ == "__main__":
    main()
