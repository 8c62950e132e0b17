"""What the store is worth to a second job: the same model once more, compiled without a job at all, and by stock TVM.

    python tests/benchmarks/second_job.py [--model squeezenet] [--trials-per-kernel 8] [--rounds 24] [--exact-math]

Three commands with one store: `tunefarm tune`, the same again, `tunefarm compile`. Stock passes compile the first
package's prepared module too, once with the database that `tunefarm schedules export` writes and once with the store
itself (`client.schedules.database`); their outputs have to be the package's. Then all take turns, each in a process of
its own, with an A/A row (the first package in two processes): wall seconds, trials, latency, and the latency over the
first package's, the median over rounds with its bootstrap 95% interval. Some six minutes; nothing else should run.

A database of TVM holds no other algorithm than a kernel's own: where a job chose Winograd's convolutions, stock TVM has
the best direct sum, or none. With --exact-math both have direct sums alone.
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
EXPORTED, ASKED = "stock TVM, exported database", "stock TVM, the store"
STOCK_COMPILE = Path(__file__).with_name("stock_compile.py")
# Of the greatest output: stock passes compute exp and its kin by libm, and sum in the order of their schedules.
STOCK_TOLERANCE = 1e-3


def run(name: str, work: Path, command: Sequence[str]) -> dict[str, Any]:
    """The command's JSON and its wall seconds. Ends the program where it fails."""
    started = time.perf_counter()
    text = _run(name, work, [str(BIN / "tunefarm"), *command, "--json", "--out", str(work / name)])
    return {**json.loads(text), "wall": time.perf_counter() - started}


def _run(name: str, work: Path, command: Sequence[str]) -> str:
    environment = {**os.environ, "XDG_DATA_HOME": str(work / "data")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode:
        sys.exit(f"{name}: {Path(command[0]).name} ended with {done.returncode}")
    return done.stdout


def by_stock_tvm(work: Path) -> dict[str, dict[str, Any]]:
    """Compiles the first package's module twice, each into a folder of its row's name. What `stock_compile.py` says."""
    exported = work / "exported"
    export = [str(BIN / "tunefarm"), "schedules", "export", str(exported), "--format", "metaschedule", "--json"]
    (folder,) = json.loads(_run("export", work, export))["folders"]
    said = {}
    for name, source in (
        (EXPORTED, ["--database", folder["path"]]),
        (ASKED, ["--store", str(work / "data" / "tunefarm")]),
    ):
        started = time.perf_counter()
        _run(name, work, [sys.executable, str(STOCK_COMPILE), str(work / FIRST), str(work / name), *source])
        figures = json.loads((work / name / "stock.json").read_text())
        said[name] = {**figures, "wall": time.perf_counter() - started}
    return said


def check_outputs(contenders: Sequence[Contender], work: Path) -> None:
    """Ends the program where one answers otherwise than the first package."""
    found = {}
    for contender in contenders:
        path = work / f"{contender.name} outputs.npz"
        contender.write_outputs(path)
        with np.load(path) as archive:
            found[contender.name] = {name: archive[name] for name in archive.files}
    for name, outputs in found.items():
        for output, expected in found[FIRST].items():
            error = float(np.max(np.abs(outputs[output] - expected)) / np.max(np.abs(expected)))
            if not error <= STOCK_TOLERANCE:
                sys.exit(f"{name}: output {output} is {error:.2g} of the greatest value off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="squeezenet", choices=list(MODELS), metavar="NAME")
    parser.add_argument("--trials-per-kernel", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--exact-math", action="store_true", help="of the jobs: direct sums, and libm")
    add_work_option(parser)
    parser.add_argument("--out", type=Path, default=Path("second_job.json"))
    given = parser.parse_args()
    given.work = work_folder(parser, given.work)
    model = [str(model_path(given.model)), *shapes_of(given.model)]
    if given.exact_math:
        model.append("--exact-math")
    tune = ["tune", *model, "--trials-per-kernel", str(given.trials_per_kernel)]
    commands = {FIRST: tune, SECOND: tune, COMPILED: ["compile", *model]}
    said = {name: run(name, given.work, command) for name, command in commands.items()}
    said |= by_stock_tvm(given.work)
    seconds = _timed(given.work, given.rounds)
    show(given.model, said, seconds)
    given.out.write_text(json.dumps({"machine": machine(), "said": said, "seconds": seconds}, indent=2))


def _timed(work: Path, rounds: int) -> dict[str, list[float]]:
    cores = len(os.sched_getaffinity(0))
    folders = {FIRST: work / FIRST, AGAIN: work / FIRST, SECOND: work / SECOND, COMPILED: work / COMPILED}
    inputs = str(work / FIRST / "inputs.npz")
    contenders = [Contender(name, "package", str(folder), inputs, cores=cores) for name, folder in folders.items()]
    contenders += [Contender(name, "stock", str(work / name), inputs, cores=cores) for name in (EXPORTED, ASKED)]
    try:
        check_outputs([each for each in contenders if each.name in (FIRST, EXPORTED, ASKED)], work)
        return interleave(contenders, rounds)
    finally:
        for contender in contenders:
            contender.close()


def show(model: str, said: dict[str, Any], seconds: dict[str, list[float]]) -> None:
    """The table."""
    table = Table(title=f"{model}: one store")
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
