"""tunefarm against plain TVM: the same SqueezeNet, the same total of trials, the same cores, one run.

    python tests/benchmarks/against_plain.py [--trials-per-kernel 16] [--rounds 40] [--out results.json]

Wall time of the whole command (import to compiled model) for tunefarm, and for `tune_tasks` at its default of 64 trials
a round and at 16 a round; then the final models interleaved with ONNX Runtime, each in its own process, with an A/A
row (the same tunefarm package in two processes). Takes about half an hour on two cores; nothing else should run.
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
from rich.console import Console
from rich.table import Table
from work_folder import add_work_option, work_folder

PLAIN = Path(__file__).with_name("plain_tvm.py")
BIN = Path(sys.executable).parent


def tune_with_tunefarm(model: Path, work: Path, trials_per_kernel: int) -> dict[str, object]:
    """The command that a user types, with an empty store; its JSON and `wall` seconds."""
    started = time.perf_counter()
    command = [str(BIN / "tunefarm"), "tune", str(model), "--trials-per-kernel", str(trials_per_kernel)]
    done = subprocess.run(
        [*command, "--out", str(work / "package"), "--json"],
        env={**os.environ, "XDG_DATA_HOME": str(work / "data")},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return {**json.loads(done.stdout), "wall": time.perf_counter() - started}


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
    model = given.work / "squeezenet.onnx"
    seeded = [sys.executable, "-m", "tunefarm_coordinator.models.seeded", "squeezenet", str(model)]
    subprocess.run(seeded, check=True)

    progress = Console(stderr=True)
    progress.print(f"tunefarm: {given.trials_per_kernel} trials per kernel")
    farm = tune_with_tunefarm(model, given.work, given.trials_per_kernel)
    trials = farm["trials"]["budget"]  # type: ignore[index]
    walls = {"tunefarm": farm["wall"]}
    tuned = {"tunefarm": farm}
    for size in given.plain:
        progress.print(f"plain TVM, {size} a round, {trials} trials")
        name = f"plain, {size} a round"
        tuned[name] = tune_with_plain(model, given.work / f"plain{size}", trials, size, cores)
        walls[name] = tuned[name]["wall"]

    inputs = given.work / "inputs.npz"
    np.savez(inputs, data_0=np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype("float32"))
    manifest = json.loads((given.work / "package" / "manifest.json").read_text())
    package = [str(given.work / "package" / manifest["library"]), str(inputs)]
    contenders = [
        Contender("ONNX Runtime", "onnxruntime", str(model), str(inputs), "--cores", str(cores), cores=cores),
        Contender("tunefarm", "tvm", *package, cores=cores),
        Contender("tunefarm (A/A)", "tvm", *package, cores=cores),
    ]
    contenders += [
        Contender(
            f"plain, {size} a round", "tvm", str(given.work / f"plain{size}" / "model.so"), str(inputs), cores=cores
        )
        for size in given.plain
    ]
    progress.print(f"{given.rounds} interleaved rounds")
    try:
        seconds = interleave(contenders, given.rounds)
    finally:
        for contender in contenders:
            contender.close()
    ratios = {name: ratio(values, seconds["ONNX Runtime"]) for name, values in seconds.items()}
    ratios["A/A"] = ratio(seconds["tunefarm (A/A)"], seconds["tunefarm"])
    show(seconds, ratios, tuned, walls)
    given.out.write_text(
        json.dumps({"tuned": tuned, "seconds": seconds, "ratios": {k: vars(v) for k, v in ratios.items()}}, indent=2)
    )


def show(seconds: dict, ratios: dict[str, Ratio], tuned: dict, walls: dict) -> None:  # type: ignore[type-arg]
    table = Table(title="SqueezeNet, equal trials")
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
            f"{wall / walls['tunefarm']:.2f}" if wall else "",
            f"{np.median(values) * 1e3:.2f}",
            str(ratios[name]),
        )
    console = Console()
    console.print(table)
    console.print(f"A/A (tunefarm twice): {ratios['A/A']}")


if __name__ == "__main__":
    main()
