"""tunefarm against plain TVM: the same model, the same total of trials, the same cores, one run.

    python tests/benchmarks/against_plain.py [--model squeezenet] [--trials-per-kernel 16] [--rounds 40] [--out FILE]

`--model` is one of tests/model_zoo.py, its sizes fixed for both. Wall time of the whole command (import to compiled
model) for tunefarm, and for `tune_tasks` at its default of 64 trials a round and at 16 a round; then the final models
interleaved with ONNX Runtime, each in its own process, with an A/A row (the same tunefarm package in two processes).
Takes about half an hour on two cores; nothing else should run.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from interleaved import Contender, Ratio, interleave, ratio
from real_models import MODELS, tune
from rich.console import Console
from rich.table import Table
from runtime_contenders import AGAIN, FARM, ONNXRUNTIME, Case
from work_folder import add_work_option, work_folder

from tests.model_zoo import model_path

PLAIN = Path(__file__).with_name("plain_tvm.py")


def tune_with_plain(model: Path, out: Path, trials: int, round_size: int, cores: int) -> dict[str, object]:
    """plain_tvm.py in a process of its own; its figures and `wall` seconds."""
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    options = ["--trials", str(trials), "--round", str(round_size), "--cores", str(cores)]
    with (out / "log").open("w") as log:
        subprocess.run(
            [sys.executable, str(PLAIN), str(model), str(out), *options],
            check=True,
            stdout=log,
            stderr=log,
        )
    return {**json.loads((out / "plain.json").read_text()), "wall": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="squeezenet", choices=list(MODELS), metavar="NAME")
    parser.add_argument("--trials-per-kernel", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--plain", type=int, nargs="*", default=[64, 16], help="round sizes of plain TVM; none: skipped"
    )
    add_work_option(parser)
    parser.add_argument("--out", type=Path, default=Path("against_plain.json"))
    given = parser.parse_args()
    given.work = work_folder(parser, given.work)
    cores = len(os.sched_getaffinity(0))
    progress = Console(stderr=True)
    progress.print(f"tunefarm: {given.trials_per_kernel} trials per kernel")
    farm = tune(given.model, given.work, given.trials_per_kernel)
    if farm.get("state") != "SUCCEEDED":
        sys.exit(f"tunefarm's job ended as {farm.get('state')}, exit code {farm['exit']}: {farm.get('error')}")
    case = Case(given.model, model_path(given.model), given.work / given.model / "package", given.work)
    trials = farm["trials"]["budget"]
    walls = {FARM: farm["wall"]}
    tuned = {FARM: farm}
    for size in given.plain:
        progress.print(f"plain TVM, {size} a round, {trials} trials")
        name = f"plain, {size} a round"
        tuned[name] = tune_with_plain(case.static_model, given.work / f"plain{size}", trials, size, cores)
        walls[name] = tuned[name]["wall"]

    def entry(name: str, library: Path) -> Contender:
        return Contender(name, "tvm", str(library), str(case.inputs), cores=cores)

    library = case.package / json.loads((case.package / "manifest.json").read_text())["library"]
    peer = ("onnxruntime", str(case.static_model), str(case.inputs), "--cores", str(cores))
    contenders = [Contender(ONNXRUNTIME, *peer, cores=cores), entry(FARM, library), entry(AGAIN, library)]
    contenders += [entry(f"plain, {size} a round", given.work / f"plain{size}" / "model.so") for size in given.plain]
    progress.print(f"{given.rounds} interleaved rounds")
    try:
        seconds = interleave(contenders, given.rounds)
    finally:
        for contender in contenders:
            contender.close()
    ratios = {name: ratio(values, seconds[ONNXRUNTIME]) for name, values in seconds.items()}
    ratios["A/A"] = ratio(seconds[AGAIN], seconds[FARM])
    show(given.model, seconds, ratios, tuned, walls)
    given.out.write_text(
        json.dumps({"tuned": tuned, "seconds": seconds, "ratios": {k: vars(v) for k, v in ratios.items()}}, indent=2)
    )


def show(model: str, seconds: dict, ratios: dict[str, Ratio], tuned: dict, walls: dict) -> None:  # type: ignore[type-arg]
    table = Table(title=f"{model}, equal trials")
    for column in ("build", "trials", "wall s", "wall / tunefarm's", "latency ms", "latency / ONNX Runtime [95%]"):
        table.add_column(column)
    for name, values in seconds.items():
        trials = tuned.get(name, {}).get("trials", "")
        trials = trials["charged"] if isinstance(trials, dict) else trials
        wall = walls.get(name)
        table.add_row(
            name,
            str(trials),
            f"{wall:.0f}" if wall else "",
            f"{wall / walls[FARM]:.2f}" if wall else "",
            f"{np.median(values) * 1e3:.2f}",
            str(ratios[name]),
        )
    console = Console()
    console.print(table)
    console.print(f"A/A (tunefarm twice): {ratios['A/A']}")


if __name__ == "__main__":
    main()
