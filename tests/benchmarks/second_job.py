"""What the store is worth to a second job: the same model once more, and compiled without a job at all.

    python tests/benchmarks/second_job.py [--model squeezenet] [--trials-per-kernel 8] [--rounds 24] [--out FILE]

Three commands with one store: `tunefarm tune`, the same again, `tunefarm compile`. Then the packages take turns, each
in a process of its own, with an A/A row (the first package in two processes): wall seconds, trials, latency, and the
latency over the first package's, the median over rounds with its bootstrap 95% interval. Some five minutes;
nothing else should run.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import Contender, interleave, ratio
from machine import machine
from real_models import BIN, MODELS, shapes_of
from rich.console import Console
from rich.table import Table
from work_folder import add_work_option, work_folder

from tests.model_zoo import model_path

FIRST, AGAIN, SECOND, COMPILED = "first job", "first job (A/A)", "second job", "compiled"


def run(name: str, work: Path, command: Sequence[str]) -> dict[str, Any]:
    """The command's JSON and its wall seconds. Ends the program where it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        [str(BIN / "tunefarm"), *command, "--json", "--out", str(work / name)],
        env={**os.environ, "XDG_DATA_HOME": str(work / "data")},
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{name}: tunefarm ended with {done.returncode}")
    return {**json.loads(done.stdout), "wall": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="squeezenet", choices=list(MODELS), metavar="NAME")
    parser.add_argument("--trials-per-kernel", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=24)
    add_work_option(parser)
    parser.add_argument("--out", type=Path, default=Path("second_job.json"))
    given = parser.parse_args()
    given.work = work_folder(parser, given.work)
    model = [str(model_path(given.model)), *shapes_of(given.model)]
    tune = ["tune", *model, "--trials-per-kernel", str(given.trials_per_kernel)]
    commands = {FIRST: tune, SECOND: tune, COMPILED: ["compile", *model]}
    said = {name: run(name, given.work, command) for name, command in commands.items()}
    seconds = _timed(given.work, given.rounds)
    show(given.model, said, seconds)
    given.out.write_text(json.dumps({"machine": machine(), "said": said, "seconds": seconds}, indent=2))


def _timed(work: Path, rounds: int) -> dict[str, list[float]]:
    cores = len(os.sched_getaffinity(0))
    folders = {FIRST: work / FIRST, AGAIN: work / FIRST, SECOND: work / SECOND, COMPILED: work / COMPILED}
    inputs = str(work / FIRST / "inputs.npz")
    contenders = [Contender(name, "package", str(folder), inputs, cores=cores) for name, folder in folders.items()]
    try:
        return interleave(contenders, rounds)
    finally:
        for contender in contenders:
            contender.close()


def show(model: str, said: dict[str, Any], seconds: dict[str, list[float]]) -> None:
    """The table."""
    table = Table(title=f"{model}: one store, three commands")
    for column in ("build", "wall s", "trials", "latency ms", "latency / first job [95%]"):
        table.add_column(column)
    for name, values in seconds.items():
        command = said.get(name, {})
        trials = str(command["trials"]["charged"]) if "trials" in command else "0" if command else ""
        wall = f"{command['wall']:.0f}" if command else ""
        table.add_row(name, wall, trials, f"{np.median(values) * 1e3:.3g}", str(ratio(values, seconds[FIRST])))
    Console().print(table)


if __name__ == "__main__":
    main()
