"""What the schedules of kernels alike are worth to a model that is new: the same network at another size.

    python tests/benchmarks/near_hits.py [--pairs squeezenet:192 nudenet:256] [--seeds 5] [--rounds 16] [--out FILE]

For each pair a store is filled by a job of the network at its usual size (8 trials per kernel). Then, for each seed,
the network at the other size (height and width of its image) is tuned three times: at 4 trials per kernel on a copy of
that store, at 4 and at 12 on empty ones. The three packages and the first once more (A/A) take turns, each in a process
of its own; a ratio is another package's latency over that of the job that had neighbours, the median over rounds. Told
are the ratios of every seed and their geometric mean with its bootstrap 95% interval over seeds: above 1, neighbours
helped. Five minutes for a pair and seed of SqueezeNet; nothing else should run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import Contender, interleave, ratio
from machine import machine
from real_models import BIN, MODELS
from rich.console import Console
from rich.table import Table
from work_folder import add_work_option, work_folder

from tests.model_zoo import model_path

FILLING, FEW, MANY = 8, 4, 12
WARM, AGAIN, COLD, LONGER = f"{FEW}, neighbours", "A/A", f"{FEW}, cold", f"{MANY}, cold"
_PROGRESS = Console(stderr=True)


def tune(name: str, size: int | None, home: Path, out: Path, trials: int, seed: int) -> dict[str, Any]:
    """A job of the network with images of this size (None: its usual ones); the command's JSON. Ends the program where
    it fails."""
    shapes = {tensor: shape for tensor, shape in MODELS[name].shapes.items() if shape}
    if size is not None:
        shapes = {tensor: (*shape[:-2], size, size) for tensor, shape in shapes.items()}
    inputs = [part for tensor, shape in shapes.items() for part in ("--force-input", f"{tensor}={_dims(shape)}")]
    command = ["tune", str(model_path(name)), *inputs, "--trials-per-kernel", str(trials), "--seed", str(seed)]
    done = subprocess.run(
        [str(BIN / "tunefarm"), *command, "--json", "--out", str(out)],
        env={**os.environ, "XDG_DATA_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    if done.returncode:
        sys.exit(f"tunefarm {' '.join(command)} ended with {done.returncode}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _dims(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


def one_seed(name: str, size: int, filled: Path, work: Path, seed: int, rounds: int) -> dict[str, Any]:
    """The three jobs of one seed, and the ratios of their packages' latencies to the one that had neighbours."""
    homes = {WARM: work / "warm", COLD: work / "cold", LONGER: work / "longer"}
    shutil.copytree(filled, homes[WARM])
    budgets = {WARM: FEW, COLD: FEW, LONGER: MANY}
    packages = {which: work / f"package {which}" for which in homes}
    for which, home in homes.items():
        _PROGRESS.print(f"{name} at {size}, seed {seed}: {which}")
        tune(name, size, home, packages[which], budgets[which], seed)
    cores = len(os.sched_getaffinity(0))
    inputs = str(packages[WARM] / "inputs.npz")
    folders = {WARM: packages[WARM], AGAIN: packages[WARM], COLD: packages[COLD], LONGER: packages[LONGER]}
    contenders = [Contender(which, "package", str(folder), inputs, cores=cores) for which, folder in folders.items()]
    try:
        seconds = interleave(contenders, rounds)
    finally:
        for contender in contenders:
            contender.close()
    ratios = {which: ratio(values, seconds[WARM]).median for which, values in seconds.items() if which != WARM}
    return {"name": name, "size": size, "seed": seed, "seconds": seconds, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", nargs="+", default=["squeezenet:192", "nudenet:256"], metavar="MODEL:SIZE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=16)
    add_work_option(parser)
    parser.add_argument("--out", type=Path, default=Path("near_hits.json"))
    given = parser.parse_args()
    work = work_folder(parser, given.work)
    results = []
    for pair in given.pairs:
        name, _, size = pair.partition(":")
        filled = work / name / "filled"
        _PROGRESS.print(f"{name}: filling a store at its usual size")
        tune(name, None, filled, work / name / "first", FILLING, 0)
        for seed in range(given.seeds):
            folder = work / name / str(seed)
            results.append(one_seed(name, int(size), filled, folder, seed, given.rounds))
            given.out.write_text(json.dumps({"machine": machine(), "rows": results}, indent=2))
    show(results)


def show(results: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table(title=f"latency over that of the job at {WARM}; above 1: neighbours helped", title_justify="left")
    for column in ("model", "seed", f"ms at {WARM}", AGAIN, COLD, LONGER):
        table.add_column(column)
    for row in results:
        latency = f"{np.median(row['seconds'][WARM]) * 1e3:.3g}"
        cells = [f"{row['ratios'][which]:.3f}" for which in (AGAIN, COLD, LONGER)]
        table.add_row(f"{row['name']} at {row['size']}", str(row["seed"]), latency, *cells)
    table.add_row("geometric mean", "", "", *(_mean(results, which) for which in (AGAIN, COLD, LONGER)))
    Console().print(table)


def _mean(results: list[dict[str, Any]], which: str) -> str:
    logs = np.log([row["ratios"][which] for row in results])
    picks = np.random.default_rng(0).integers(0, len(logs), (10_000, len(logs)))
    low, high = np.exp(np.percentile(logs[picks].mean(axis=1), [2.5, 97.5]))
    return f"{np.exp(logs.mean()):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
