"""Kernels of real models against other programs and against what this machine can do.

    python tests/benchmarks/kernels.py [--trials 0,16,64] [--threads 1] [--only '3x3|pool'] [--out kernels.json]

Each row is a small ONNX model (kernel_list.py): our default schedule, our best after so many trials, ONNX Runtime and
OpenVINO, in turn in one process, and an A/A column (the default schedule twice). The limit is the larger of the time
that the row's multiply-adds take at this machine's peak and that its bytes take at its bandwidth, measured in the same
run (machine_limit.py). A ratio above 1 means that we are faster. With `--trials 0` a row takes some seconds; a trial,
one or two. Caches are warm; what the runtimes' calls cost by themselves is taken off.

In a network the convolutions' images lie as each program likes it. So rows of images give them to us channels last, and
of the other programs only the nodes count that compute, by their own clocks (whole microseconds).
"""

import argparse
import importlib.util
import json
import math
import re
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import tvm
from interleaved import ratio
from kernel_clock import Turns
from kernel_list import ROWS
from kernel_models import Drafting, Row
from kernel_programs import program, save_inputs
from kernel_tuning import Tuning
from machine import machine
from machine_limit import Limit, measured
from rich.console import Console
from rich.table import Table
from work_folder import add_work_option, work_folder

DEFAULT, AA = "default", "default#2"
LEFT_OUT_SECONDS = 3e-7
PEERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", default="0,16,64", help="for each kernel that is tuned; 0 alone is quick")
    parser.add_argument("--tuner", default="autoscheduler")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20, help="of the comparison")
    parser.add_argument("--only", default="", help="a regular expression that is found in rows' names")
    add_work_option(parser)
    parser.add_argument("--out", type=Path, default=Path("kernels.json"), help="rows are added to those in it")
    given = parser.parse_args()
    given.work = work_folder(parser, given.work)
    given.trials = sorted({int(text) for text in given.trials.split(",")} - {0})
    return given


class Bench:
    """What all rows share: target, limit, the timing process, and what a call costs each runtime by itself."""

    def __init__(self, given: argparse.Namespace, progress: Console) -> None:
        self.given, self.progress = given, progress
        cpu = str(tvm.get_global_func("target.llvm_get_system_cpu")())
        self.target = json.dumps({"kind": "llvm", "mcpu": cpu, "num-cores": given.threads})
        self.limit: Limit = measured(given.threads)
        self.peers = [name for name in PEERS if importlib.util.find_spec(name)]
        self.turns = Turns(given.threads)
        self._empty: dict[str, float] = {}
        draft = Drafting()
        empty = Row("nothing", draft.model({"x": (1,)}, draft.node("Relu", ["x"])), 0.0)
        self._empty = {name: min(values) for name, values in self._timed(empty, given.work / "nothing", []).items()}

    @property
    def described(self) -> dict[str, Any]:
        """What figures of this run were measured on."""
        facts = {"target": self.target, "threads": self.given.threads, "limit": asdict(self.limit)}
        return {**machine(), **facts, "empty": self._empty}

    def row(self, row: Row, folder: Path) -> dict[str, Any]:
        """One row of the table."""
        seconds = self._timed(row, folder, self.given.trials)
        limit, bound = self.limit.seconds(row.flops, row.bytes)
        # What takes no time was left out: a concatenation that its inputs' kernels write to.
        peers = [name for name in self.peers if min(seconds[name]) >= LEFT_OUT_SECONDS]
        best = min(peers, key=lambda name: min(seconds[name]))
        seconds = {name: values for name, values in seconds.items() if name in peers or name not in self.peers}
        ratios = {
            name: [found.median, found.low, found.high]
            for name, values in seconds.items()
            if name not in peers
            for found in [ratio(seconds[DEFAULT] if name == AA else seconds[best], values)]
        }
        figures = {name: min(values) for name, values in seconds.items()}
        facts = {"row": row.name, "flops": row.flops, "bytes": row.bytes, "limit": limit, "bound": bound}
        return {**facts, "best_peer": best, "seconds": figures, "ratios": ratios, "rounds": seconds}

    def _timed(self, row: Row, folder: Path, trials: list[int]) -> dict[str, list[float]]:
        folder.mkdir(parents=True)
        onnx.save(row.model, folder / "model.onnx")
        ours = program(row, self.target, folder)
        values = save_inputs(ours.inputs, folder / "ours.npz")
        libraries = {DEFAULT: ours.packaged({}, folder / DEFAULT)}
        tuning = Tuning(ours.prepared, self.target, self.given.tuner, self.given.threads) if trials else None
        for count in trials:
            assert tuning is not None
            libraries[f"{count} trials"] = ours.packaged(tuning.best_after(count), folder / str(count))
        if tuning is not None:
            tuning.close()
        contenders = {
            name: {"runtime": "tvm", "model": str(path), "inputs": str(values), "nodes": False}
            for name, path in libraries.items()
        }
        plain = str(save_inputs(row.inputs(), folder / "inputs.npz"))
        for name in self.peers:
            model = str(folder / "model.onnx")
            contenders[name] = {"runtime": name, "model": model, "inputs": plain, "nodes": row.image}
        seconds = self.turns.ask(contenders, self.given.rounds)
        for name, samples in seconds.items():
            if not contenders.get(name, contenders[DEFAULT])["nodes"]:
                spent = self._empty.get(name if name in self.peers else DEFAULT, 0.0)
                seconds[name] = [max(sample - spent, 1e-7) for sample in samples]
        return seconds


def table(facts: dict[str, Any], rows: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"] if name != AA))
    shown = Table(title=title(facts, rows))
    shown.add_column("kernel")
    for column in ("limit us", *(PEERS.get(name, name) for name in names)):
        shown.add_column(column, justify="right")
    ours = [name for name in names if name not in PEERS]
    for column in (*(f"x best peer, {name}" for name in ours), "A/A"):
        shown.add_column(column, justify="right")
    for row in rows:
        seconds, ratios = row["seconds"], row["ratios"]
        shown.add_row(
            row["row"],
            f"{row['limit'] * 1e6:.1f} {row['bound']}",
            *(f"{seconds[n] * 1e6:.1f} ({row['limit'] / seconds[n]:.0%})" if n in seconds else "-" for n in names),
            *("{:.2f} [{:.2f}, {:.2f}]".format(*ratios[name]) if name in ratios else "-" for name in (*ours, AA)),
        )
    return shown


def title(facts: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    limit = facts["limit"]
    means = "; ".join(
        f"{name}: geometric mean {math.exp(statistics.fmean(map(math.log, found))):.2f}, "
        f"{sum(each >= 0.8 for each in found)} of {len(found)} at 0.8 or more"
        for name in rows[0]["ratios"]
        if name != AA
        for found in [[row["ratios"][name][0] for row in rows if name in row["ratios"]]]
    )
    return (
        f"{facts['threads']} thread(s), {limit['gflops']:.0f} GFLOP/s, {limit['gbytes'][256]:.0f} GB/s in cache, "
        f"{limit['gbytes'][65536]:.0f} beyond; microseconds (share of the limit)\n{means}"
    )


def main() -> None:
    given, progress = parsed(), Console(stderr=True)
    wanted = [row for row in ROWS if re.search(given.only, row.name)]
    if not wanted:
        sys.exit(f"no row's name has {given.only!r} in it")
    known = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    found = {row["row"]: row for row in known}
    bench = Bench(given, progress)
    for name in PEERS.keys() - set(bench.peers):
        progress.print(f"no {PEERS[name]}: it is not installed here")
    for number, row in enumerate(wanted):
        progress.print(row.name)
        try:
            found[row.name] = bench.row(row, given.work / str(number))
        except (RuntimeError, ValueError) as error:
            progress.print(f"   failed: {error}")
            continue
        rows = [found[each.name] for each in ROWS if each.name in found]
        given.out.write_text(json.dumps({"machine": bench.described, "rows": rows}, indent=1) + "\n")
    bench.turns.close()
    shown = [found[row.name] for row in wanted if row.name in found]
    if shown:
        Console(width=200).print(table(bench.described, shown))


if __name__ == "__main__":
    main()
