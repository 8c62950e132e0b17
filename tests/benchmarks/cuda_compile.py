"""How fast CUDA candidates are built, with either compiler, and how fast a package: SqueezeNet, sm_90, no GPU needed.

    python tests/benchmarks/cuda_compile.py [--candidates 22] [--rounds 3] [--out cuda-compile.json]

A candidate is the first that search proposes for a kernel and that builds. Each is built (replayed, lowered, compiled,
linked) with both compilers in turn, and once more with the first, which is the A/A row; nothing is kept between builds.
A package has the candidates' schedules: cold, with nothing compiled before, and warm, with what was compiled for them.
"""

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import tvm
from interleaved import ratio
from rich.console import Console
from rich.table import Table

from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.candidate import BuildError
from tunefarm_coordinator.engines.cuda import compiler, options
from tunefarm_coordinator.engines.cuda.options import CudaOptions
from tunefarm_coordinator.engines.engine import engine
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.package import build_package
from tunefarm_coordinator.models.prepare import PreparedModel, prepare
from tunefarm_coordinator.models.seeded import seeded_model
from tunefarm_coordinator.models.target import resolve_target

GPU = {
    "kind": "cuda",
    "arch": "sm_90",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "thread_warp_size": 32,
    "host": {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "num-cores": 1},
}
TARGET = resolve_target(json.dumps(GPU))
CONTENDERS = {
    "NVRTC": CudaOptions("nvrtc"),
    "nvcc": CudaOptions("nvcc"),
    "NVRTC again": CudaOptions("nvrtc"),
}
FIRST = "NVRTC"
SEED = 1


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds, seconds of CPU with all that it started)."""

    def cpu() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    wall, before = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - wall, cpu() - before


def prepared_model(folder: Path) -> PreparedModel:
    model = folder / "squeezenet.onnx"
    onnx.save(seeded_model("squeezenet"), model)
    return prepare(model, {"data_0": (1, 3, 224, 224)}, TARGET, folder / "prepared")


def proposed(prepared: PreparedModel, count: int) -> list[tuple[str, str, str]]:
    """(workload, module, trace) of a proposal for each of `count` kernels, but for those of which none builds."""
    found = []
    for task in prepared.tasks[:count]:
        seeds = (default_trace(task.module, TARGET),)
        search = engine("autoscheduler").open(task.workload, task.module, TARGET, SEED, seeds=seeds)
        traces = [proposal.trace for proposal in search.propose(2, None)]
        found += [(task.workload, task.module, trace) for trace in traces if builds(task.module, trace)][:1]
    return found


def builds(module: str, trace: str) -> bool:
    """Some candidates don't, by no compiler's fault."""
    try:
        build_candidate(module, trace, TARGET)
    except BuildError:
        return False
    return True


def time_candidates(candidates: list[tuple[str, str, str]]) -> dict[str, list[tuple[float, float]]]:
    """What each build took; each candidate with all contenders in turn, in a rotating order."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    names = list(CONTENDERS)
    for number, (_, module, trace) in enumerate(candidates):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            options.configure(CONTENDERS[name])
            times[name].append(spent(partial(build_candidate, module, trace, TARGET)))
    return times


def time_packages(
    prepared: PreparedModel, candidates: list[tuple[str, str, str]], rounds: int, folder: Path
) -> dict[str, list[float]]:
    """Seconds of each packaging, with nothing compiled before and with all candidates compiled before."""
    traces = {workload: trace for workload, _, trace in candidates}
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    for number in range(rounds):
        empty, full = (CudaOptions("nvrtc", images=folder / f"{kind}{number}") for kind in ("empty", "full"))
        options.configure(full)
        for _, module, trace in candidates:
            build_candidate(module, trace, TARGET)
        for name, given in (("cold", empty), ("warm", full)):
            options.configure(given)
            took, _ = spent(lambda: build_package(prepared.directory, traces, folder / "package"))
            seconds[name].append(took)
    return seconds


def report(times: dict[str, list[tuple[float, float]]], packages: dict[str, list[float]]) -> None:
    table = Table(title=f"{len(times[FIRST])} candidates of SqueezeNet, sm_90, one at a time")
    for heading in ("compiler", "median s", "quartiles", "candidates/s", "CPU s", "per core and s", f"times {FIRST}"):
        table.add_column(heading, justify="left" if heading == "compiler" else "right")
    for name, taken in times.items():
        walls, cpus = ([each[position] for each in taken] for position in (0, 1))
        low, middle, high = np.percentile(walls, [25, 50, 75])
        table.add_row(
            name,
            f"{middle:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{len(walls) / sum(walls):.2f}",
            f"{statistics.mean(cpus):.3f}",
            f"{len(cpus) / sum(cpus):.2f}",
            str(ratio(walls, [wall for wall, _ in times[FIRST]])),
        )
    console = Console()
    console.print(table)
    for name, seconds in packages.items():
        console.print(
            f"packaging, {name}: {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}"
        )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=22)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("cuda-compile.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = prepared_model(folder)
        candidates = proposed(prepared, given.candidates)
        for each in CONTENDERS.values():  # loading a compiler is no part of a build
            options.configure(each)
            build_candidate(*candidates[0][1:], TARGET)
        versions: dict[str, str] = {}
        for each in CONTENDERS.values():
            options.configure(each)
            versions[each.compiler] = compiler.chosen().version
        times = time_candidates(candidates)
        packages = time_packages(prepared, candidates, given.rounds, folder)
    report(times, packages)
    facts = {"tvm": tvm.__version__, "machine": platform.processor() or platform.machine(), **versions}
    given.out.write_text(json.dumps({"facts": facts, "builds": times, "packages": packages}, indent=2) + "\n")


if __name__ == "__main__":
    main()
