"""Templates against generated schedules: the same kernels, the same trials, one table.

    python tests/benchmarks/templates.py [--trials 32] [--rows squeezenet transpose …] [--out templates.json]

Both engines get the untuned default as a job gives it to them, a cost model of their own and equal trials; their best
are then timed in turn, with an A/A column (the same kernel twice). Rows are added to the JSON, so that a long run can
be made in parts: `--rows` takes parts of names. About 40 s a row on two cores; nothing else should run.
"""

import argparse
import json
import math
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tvm
from interleaved import ratio
from rich.console import Console
from rich.table import Table
from template_shapes import SHAPES, Shape

from tunefarm_coordinator.engines.cost_model import CostModelTrainer, ScoreModel
from tunefarm_coordinator.engines.engine import Observation, Search, engine
from tunefarm_coordinator.models.default_schedule import default_trace

ENGINES = ("autoscheduler", "autotvm")
AA = "autoscheduler#2"
ROUND = 8
TIMEOUT_SECONDS = 60
SEED = 1
# As many of each engine's best are timed once more to find its fastest.
FINALISTS = 3
FINALIST_ROUNDS = 7


class Measurer:
    """A kernel_timer.py process, started again when it hangs or dies."""

    def __init__(self, target: str, cores: int) -> None:
        self._target, self._cores = target, cores
        self._module: Path | None = None
        self._process = self._start()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer; an error where there was none in time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(TIMEOUT_SECONDS) else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.close()
        self._process = self._start()
        if self._module is not None and "module" not in request:
            self.ask({"module": str(self._module)})
        return {"error": f"no answer in {TIMEOUT_SECONDS} s, or a crash"}

    def work_on(self, module: Path) -> None:
        """Takes a kernel up."""
        self._module = module
        if "error" in self.ask({"module": str(module)}):
            raise RuntimeError("the kernel can't be run without a schedule")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("kernel_timer.py")), self._target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TVM_NUM_THREADS": str(self._cores)},
        )


@dataclass
class Tuned:
    """What one engine's trials gave: seconds and trace of those that worked."""

    found: list[tuple[float, str]] = field(default_factory=list)
    proposed: int = 0

    @property
    def failed(self) -> int:
        return self.proposed - len(self.found)


def tune(search: Search, trainer: CostModelTrainer, measurer: Measurer, trials: int) -> Tuned:
    """Spends `trials` in rounds."""
    tuned = Tuned()
    while tuned.proposed < trials:
        fitted = trainer.model
        model = ScoreModel.from_bytes(fitted.model) if fitted.model else None
        proposals = search.propose(min(ROUND, trials - tuned.proposed), model)
        if not proposals:
            break
        results = []
        for proposal in proposals:
            answer = measurer.ask({"name": proposal.identity, "trace": proposal.trace})
            seconds = statistics.median(answer["seconds"]) if "seconds" in answer else None
            if seconds is None:
                print("   failed:", answer["error"], file=sys.stderr)
            else:
                tuned.found.append((seconds, proposal.trace))
            results.append(Observation(proposal.identity, seconds))
        tuned.proposed += len(proposals)
        trainer.update(search.observe(results))
    return tuned


def finalist(name: str, tuned: Tuned, measurer: Measurer) -> str:
    """The fastest of an engine's best, timed in turn: a machine's speed changes while trials are made."""
    traces = {f"{name} {place}": trace for place, (_, trace) in enumerate(sorted(tuned.found)[:FINALISTS])}
    for key, trace in traces.items():
        measurer.ask({"name": key, "trace": trace})
    seconds = measurer.ask({"turns": list(traces), "rounds": FINALIST_ROUNDS})["seconds"]
    return traces[min(traces, key=lambda key: statistics.median(seconds[key]))]


def run_row(
    shape: Shape, trainers: dict[str, CostModelTrainer], measurer: Measurer, target: str, trials: int, rounds: int
) -> dict[str, Any]:
    """One row of the table."""
    module = shape.module
    default = default_trace(module, target)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(module)
        file.flush()
        measurer.work_on(Path(file.name))
        untuned = statistics.median(measurer.ask({"name": "default", "trace": default})["seconds"])
        tuned, traces = {}, {"default": default}
        for name in ENGINES:
            search = engine(name).open(shape.row, module, target, SEED, seeds=(default,))
            trainers[name].update(search.observe([Observation(search.adopt(default).identity, untuned)]))
            tuned[name] = tune(search, trainers[name], measurer, trials)
            traces[name] = finalist(name, tuned[name], measurer)
        for name, trace in traces.items():
            measurer.ask({"name": name, "trace": trace})
        seconds = measurer.ask({"turns": [*ENGINES, "default", ENGINES[0]], "rounds": rounds})["seconds"]
    figures = {name: statistics.median(values) * 1e6 for name, values in seconds.items()}
    auto, template = seconds[ENGINES[0]], seconds[ENGINES[1]]
    compared, alike = ratio(auto, template), ratio(auto, seconds[AA])
    return {
        "row": shape.row,
        "operator": shape.operator,
        "trials": {name: each.proposed for name, each in tuned.items()},
        "failed": {name: each.failed for name, each in tuned.items()},
        "microseconds": figures,
        "ratio": [compared.median, compared.low, compared.high],
        "aa": [alike.median, alike.low, alike.high],
        "traces": traces,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(title=f"Templates against generated schedules; geometric mean of {len(rows)}: {mean(rows):.3f}")
    for column in ("kernel", "operator", "trials", "default us", "autoscheduler us", "template us", "ratio", "A/A"):
        shown.add_column(column, justify="left" if column in ("kernel", "operator") else "right")
    for row in rows:
        us = row["microseconds"]
        shown.add_row(
            row["row"],
            row["operator"],
            "/".join(str(row["trials"][name]) for name in ENGINES),
            *(f"{us[name]:.1f}" for name in ("default", *ENGINES)),
            *("{:.2f} [{:.2f}, {:.2f}]".format(*row[key]) for key in ("ratio", "aa")),
        )
    return shown


def mean(rows: list[dict[str, Any]]) -> float:
    """Geometric mean of t_autoscheduler / t_template."""
    return math.exp(statistics.fmean(math.log(row["ratio"][0]) for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=32, help="for each engine on each kernel")
    parser.add_argument("--rounds", type=int, default=20, help="of the comparison")
    parser.add_argument("--rows", nargs="*", default=[""], help="parts of names; none: all")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("templates.json"))
    given = parser.parse_args()
    cpu = str(tvm.get_global_func("target.llvm_get_system_cpu")())
    target = json.dumps({"kind": "llvm", "mcpu": cpu, "num-cores": given.cores})
    known = json.loads(given.out.read_text()) if given.out.exists() else []
    results = {row["row"]: row for row in known}
    trainers = {name: CostModelTrainer(SEED) for name in ENGINES}
    measurer = Measurer(target, given.cores)
    for shape in SHAPES:
        if any(part in shape.row for part in given.rows):
            results[shape.row] = run_row(shape, trainers, measurer, target, given.trials, given.rounds)
            rows = [results[each.row] for each in SHAPES if each.row in results]
            given.out.write_text(json.dumps(rows, indent=1) + "\n")
            print(shape.row, results[shape.row]["ratio"], flush=True)
    measurer.close()
    Console(width=200).print(table([results[each.row] for each in SHAPES if each.row in results]))


if __name__ == "__main__":
    main()
