"""The referee: packages of real models against ONNX Runtime and OpenVINO, all on float32, as a user calls them.

    python tests/benchmarks/runtimes.py [--trials-per-kernel 16 …] [--threads 2 1] [--only squeezenet …] [--quick]
    python tests/benchmarks/runtimes.py --packages bench-… [--trials-per-kernel 16]   packages that were tuned before
    python tests/benchmarks/runtimes.py --show runtimes.json [--readme README.md]     what was measured before

Each model is tuned by the command that a user types, with an empty store. Then its package, the same package once
more (A/A), ONNX Runtime and OpenVINO take turns, each in a process of its own, with a pause in which threads come to
rest; sizes are fixed and inputs the same for all. A turn's figure is the median of the calls of a tenth of a second,
after ones that warm up; a ratio is a peer's figure over tunefarm's, the median over rounds with its bootstrap 95%
interval. The first call of each new process is told apart. Nothing else should run. Ends with 1 if a model could not be
tuned or run, or if its outputs are not ONNX Runtime's. Results are written after every model, and --work is kept for
--packages.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from machine import machine
from real_models import MODELS, tune
from rich.console import Console
from runtime_contenders import FARM, Case, measure
from runtime_picture import draw
from runtime_report import agreement, fill_readme, markdown, summary
from work_folder import add_work_option, work_folder

from tests.model_zoo import model_path

# Thirteen that the project promised itself figures of, then kinds that are not among them.
CHOSEN = (
    "nudenet",
    "ppocr6_recogniser",
    "ppocr6_detector",
    "ppocr4_recogniser",
    "shufflenet",
    "magika",
    "orientation",
    "dnsmos_overall",
    "squeezenet",
    "wake_word",
    "deepcut",
    "spindles",
    "melspectrogram",
    "resnet50",
    "minilm_int8",
    "silero_vad",
    "nmp",
)
QUICK = ("deepcut", "wake_word", "melspectrogram", "orientation", "squeezenet", "magika")
TRIALS, QUICK_TRIALS = 16, 2
ROUNDS, QUICK_ROUNDS = 16, 8
# Beside a package: what the command that made it said.
JOB = "job.json"
# A difference that no kind of rounding makes; the job has checked its package with bounds of the model's own.
WRONG = 0.05
PROGRESS = Console(stderr=True)


def main() -> None:
    parser = _parser()
    given = parser.parse_args()
    if given.show is not None:
        show(json.loads(given.show.read_text()), given)
        return
    settle(given)
    if given.packages is None:
        given.work = work_folder(parser, given.work)
    results: dict[str, Any] = {"machine": machine(), "settings": settings(given), "models": []}
    for name in given.only:
        for budget in given.trials_per_kernel:
            results["models"].append(referee(name, budget, given))
            results["summary"] = summary(results["models"])
            given.out.write_text(json.dumps(results, indent=1))
    show(results, given)
    sys.exit(any(is_wrong(model) for model in results["models"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials-per-kernel", type=int, nargs="+", metavar="N", help=f"budgets; default: {TRIALS}")
    parser.add_argument("--threads", type=int, nargs="+", metavar="N", help="default: every core, then one")
    parser.add_argument("--only", nargs="+", choices=list(MODELS), metavar="MODEL", help="of the tests' model zoo")
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="small models at few trials; a quarter of an hour")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="time what was tuned in this --work before")
    parser.add_argument("--show", type=Path, metavar="JSON", help="tables and picture of an earlier run; runs nothing")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the table into the place marked for it")
    parser.add_argument("--picture", type=Path, default=Path("runtimes.png"))
    parser.add_argument("--out", type=Path, default=Path("runtimes.json"))
    add_work_option(parser)
    return parser


def settle(given: argparse.Namespace) -> None:
    """Puts what was left open to what it is by default."""
    cores = len(os.sched_getaffinity(0))
    given.trials_per_kernel = given.trials_per_kernel or [QUICK_TRIALS if given.quick else TRIALS]
    given.rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    given.only = given.only or list(QUICK if given.quick else CHOSEN)
    given.threads = given.threads or ([cores] if given.quick or cores == 1 else [cores, 1])


def settings(given: argparse.Namespace) -> dict[str, Any]:
    """As JSON has them."""
    names = ("trials_per_kernel", "threads", "only", "rounds", "quick", "packages")
    return {name: str(value) if isinstance(value := getattr(given, name), Path) else value for name in names}


def referee(name: str, budget: int, given: argparse.Namespace) -> dict[str, Any]:
    """One model at one budget: the job, and the contenders with each number of threads."""
    result: dict[str, Any] = {"name": name, "kind": MODELS[name].kind, "trials_per_kernel": budget, "threads": {}}
    home = (given.packages or given.work) / f"budget-{budget}"
    try:
        result["job"] = tuned(name, budget, home, is_old=given.packages is not None)
    except LookupError as error:
        return {**result, "error": str(error)}
    case = Case(name, model_path(name), home / name / "package", home / name)
    for threads in given.threads:
        PROGRESS.print(f"{name}: {given.rounds} rounds of all contenders, {threads} thread{'s' * (threads > 1)}")
        result["threads"][str(threads)] = measure(case, threads, given.rounds)
    return {**result, "agreement": agreement(result)}


def tuned(name: str, budget: int, home: Path, *, is_old: bool) -> dict[str, Any]:
    """What the command said of the package in `home`/`name`. Raises LookupError: there is none."""
    kept = home / name / JOB
    if not is_old:
        PROGRESS.print(f"{name}: tuning, {budget} trials per kernel")
        job = tune(name, home, budget)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(job))
    if not kept.exists():
        raise LookupError(f"no package was tuned before in {home / name}")
    found: dict[str, Any] = json.loads(kept.read_text())
    if found.get("state") != "SUCCEEDED":
        raise LookupError(f"the job ended as {found.get('state')}, exit code {found.get('exit')}: {found.get('error')}")
    return found


def is_wrong(model: dict[str, Any]) -> bool:
    """Whether the model was not tuned, or could not be run, or gave other outputs than ONNX Runtime."""
    return "error" in model or any(_differs(timed["contenders"].get(FARM)) for timed in model["threads"].values())


def _differs(package: dict[str, Any] | None) -> bool:
    return package is None or bool(package.get("error", 0.0) > WRONG)


def show(results: dict[str, Any], given: argparse.Namespace) -> None:
    """Prints the tables, draws the picture, fills README's place where that is wished."""
    text = markdown(results)
    print(text)
    draw(results, given.picture)
    PROGRESS.print(f"picture: {given.picture}")
    if given.readme is not None:
        fill_readme(given.readme, text, given.picture)


if __name__ == "__main__":
    main()
