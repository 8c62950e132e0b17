"""What a cost model is worth that begins with the records of other models. Needs no device.

    python tests/benchmarks/warm_model.py squeezenet=bench-recording/squeezenet-unchosen nudenet=C.db,D.db
        [--seeds 5] [--samples 2000] [--per-kernel 64] [--out FILE]

A model is a name and its sources: work folders of `record_trials.py --unchosen`, and schedule stores (`tunefarm.db`); a
kernel that several have is the first one's. For each model of a work folder a job is replayed on the measured
schedules: rounds of 2, 2, 4, 4 and 4 for each kernel in turn. The first is the recorded one, which no cost model ranks
(the default schedule as search finishes it, and changes of it). In each other a few of the schedules that are left come
up (four for each one wanted, 16 at least, as search draws them), and the product's ranking chooses. What was chosen is
learned. Cold, the cost model begins with nothing; warm, with records of all the other models. `--free` has the first
round chosen as well.

Told is the best time after 4, 8, 12 and 16 trials, warm by cold, the geometric mean over kernels and seeds with a
bootstrap 95% interval over kernels: below 1, warm is better. Cold jobs are run twice, the second time with other seeds:
warm is set against both, the row A/A sets one against the other. The row "by chance" chooses without looking. A seed
draws the order of kernels and what comes up. Times come from the recording, so other work on the machine changes
nothing.

What it can't tell: search changes what was fast, so other choices lead to other schedules; and a job beside a store
begins with neighbours' schedules too (`near_hits.py`), which leaves less for a cost model to know beforehand.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[2]))

from landscapes import Kernel, Measured, landscape
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tvm.target import Target

from tunefarm_coordinator.engines.cost_model import CostModelTrainer, Sample, ScoreModel
from tunefarm_coordinator.engines.ranking import Ranking
from tunefarm_coordinator.engines.search import SearchOptions
from tunefarm_coordinator.models.target import resolve_target

ROUNDS = (2, 2, 4, 4, 4)
MARKS = (4, 8, 12, 16)
# Of a kernel with fewer schedules, most come up whoever chooses.
LEAST_SCHEDULES = 24
OTHER_SEEDS = 1_000
BOOTSTRAPS = 2_000
OPTIONS = SearchOptions()
_PROGRESS = Console(stderr=True)

# By kernel: the best seconds after each of MARKS.
Curves = dict[str, tuple[float, ...]]


@dataclass
class Job:
    """One job on a landscape. `chance`: nothing is ranked; `free`: the first round is not the recorded one; `seen`: by
    kernel what was measured, in its order, the default schedule first."""

    kernels: Sequence[Kernel]
    trainer: CostModelTrainer
    ranking: Ranking
    random: Random
    chance: bool = False
    free: bool = False
    seen: dict[str, list[Measured]] = field(default_factory=dict)

    def run(self) -> Curves:
        """All rounds of all kernels in turn."""
        kernels = list(self.kernels)
        self.random.shuffle(kernels)
        left = {kernel.workload: [each for each in kernel.schedules if not each.default] for kernel in kernels}
        seen = {kernel.workload: [each for each in kernel.schedules if each.default] for kernel in kernels}
        self.seen = seen
        best: dict[str, list[float]] = {kernel.workload: [] for kernel in kernels}
        for number, count in enumerate(ROUNDS):
            for kernel in kernels:
                name = kernel.workload
                chosen = self._chosen(left[name], count) if number or self.free else _taken(left[name], range(count))
                # The default schedule is measured beside the first round.
                self._learn(name, [*(seen[name] if number == 0 else []), *chosen])
                seen[name] += chosen
                best[name].append(min((each.seconds for each in seen[name] if each.seconds), default=math.inf))
        spent = [sum(ROUNDS[: number + 1]) for number in range(len(ROUNDS))]
        return {name: tuple(values[spent.index(mark)] for mark in MARKS) for name, values in best.items()}

    def _chosen(self, left: list[Measured], count: int) -> list[Measured]:
        """Taken out of what is left, as `TaskSearch` picks."""
        wanted = max(OPTIONS.least_drafts, count * OPTIONS.drafts_per_candidate)
        drafts = self.random.sample(range(len(left)), min(wanted, len(left)))
        if not self.chance:
            fitted = self.trainer.model.model
            model = None if fitted is None else ScoreModel.from_bytes(fitted)
            order = self.ranking.order([left[at].features for at in drafts], model)
            drafts = [drafts[at] for at in order]
        picks: list[int] = []
        while drafts and len(picks) < count:
            explore = picks and self.random.random() < OPTIONS.explore
            picks.append(drafts.pop(self.random.randrange(len(drafts)) if explore else 0))
        return _taken(left, picks)

    def _learn(self, workload: str, chosen: Sequence[Measured]) -> None:
        if self.chance:  # it would learn for nobody
            return
        self.trainer.update([Sample(workload, each.features, each.seconds) for each in chosen])


def _taken(left: list[Measured], picks: Sequence[int]) -> list[Measured]:
    chosen = [left[at] for at in picks]
    for at in sorted(picks, reverse=True):
        left.pop(at)
    return chosen


@dataclass(frozen=True)
class Row:
    """Geometric means and their 95% intervals (low, high), at each of MARKS."""

    name: str
    ratios: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]


def row(name: str, ratios: Mapping[str, Sequence[Sequence[float]]]) -> Row:
    """`ratios`: by kernel, for each seed, the logarithms at MARKS. The mean over kernels of each one's over seeds."""
    means = [[fmean(seed[at] for seed in seeds) for at in range(len(MARKS))] for seeds in ratios.values()]
    dice = Random(0)
    draws = [dice.choices(means, k=len(means)) for _ in range(BOOTSTRAPS)]
    found, intervals = [], []
    for at in range(len(MARKS)):
        spread = sorted(fmean(kernel[at] for kernel in draw) for draw in draws)
        found.append(math.exp(fmean(kernel[at] for kernel in means)))
        low, high = spread[int(0.025 * BOOTSTRAPS)], spread[int(0.975 * BOOTSTRAPS)]
        intervals.append((math.exp(low), math.exp(high)))
    return Row(name, tuple(found), tuple(intervals))


def ratios(ours: Sequence[Curves], theirs: Sequence[Curves]) -> dict[str, list[list[float]]]:
    """By kernel, for each seed: the logarithms of our best by theirs."""
    return {
        name: [
            [math.log(a / b) for a, b in zip(mine[name], other[name], strict=True)]
            for mine, other in zip(ours, theirs, strict=True)
        ]
        for name in ours[0]
    }


def samples_of(kernels: Sequence[Kernel], count: int, per_kernel: int, seed: int) -> list[Sample]:
    """At most so many, and of each kernel at most `per_kernel`: the fastest, and others by lot."""
    dice = Random(seed)
    samples: list[Sample] = []
    each_at_most = min(per_kernel, max(2, count // max(1, len(kernels))))
    for kernel in kernels:
        ordered = sorted(kernel.schedules, key=lambda each: math.inf if each.seconds is None else each.seconds)
        picked = ordered[:1] + dice.sample(ordered[1:], min(each_at_most - 1, len(ordered) - 1))
        samples += [Sample(kernel.workload, each.features, each.seconds) for each in picked]
    return samples[:count]


@dataclass(frozen=True)
class Comparison:
    """How jobs are compared: `known` is what a warm cost model begins with."""

    kernels: Sequence[Kernel]
    known: Sequence[Sample]
    target: Target
    seeds: int
    free: bool

    def rows(self, name: str) -> list[Row]:
        """Warm by cold, and what that is to be held against."""
        cold, again = self._jobs(CostModelTrainer), self._jobs(CostModelTrainer, first=OTHER_SEEDS)
        warm, chance = self._jobs(self._warm), self._jobs(CostModelTrainer, chance=True)
        # Against all cold jobs: the luck of one set of seeds would pass for a gain.
        return [
            row(f"{name}: warm ({len(self.known)} samples)", ratios([*warm, *warm], [*cold, *again])),
            row(f"{name}: A/A", ratios(again, cold)),
            row(f"{name}: by chance", ratios([*chance, *chance], [*cold, *again])),
        ]

    def _warm(self, seed: int) -> CostModelTrainer:
        trainer = CostModelTrainer(seed)
        trainer.update(self.known)
        return trainer

    def _jobs(self, start: Callable[[int], CostModelTrainer], first: int = 0, chance: bool = False) -> list[Curves]:
        ranking = Ranking(self.target)
        return [
            Job(self.kernels, start(seed), ranking, Random(seed), chance, self.free).run()
            for seed in track(range(first, first + self.seeds), "jobs", console=_PROGRESS)
        ]


def show(table: Sequence[Row]) -> None:
    shown = Table("best, by that of cold", *(f"{mark} trials" for mark in MARKS))
    for each in table:
        cells = [
            f"{ratio:.3f} [{low:.3f}, {high:.3f}]"
            for ratio, (low, high) in zip(each.ratios, each.intervals, strict=True)
        ]
        shown.add_row(each.name, *cells)
    Console().print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=SOURCE,...")
    parser.add_argument("--of", nargs="*", help="models that are tuned; all that have a work folder")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=2000, help="records that a warm cost model begins with, at most")
    parser.add_argument("--per-kernel", type=int, default=64, help="of one kernel, at most")
    parser.add_argument("--free", action="store_true", help="the first round is chosen as well")
    parser.add_argument("--work", type=Path, default=Path("bench-landscapes"), help="folder of features")
    parser.add_argument("--out", type=Path, default=Path("warm_model.json"))
    given = parser.parse_args()
    sources = {
        name: [Path(each) for each in rest.split(",")] for name, _, rest in (m.partition("=") for m in given.models)
    }
    landscapes: dict[str, list[Kernel]] = {}
    taken: set[str] = set()
    for name, paths in sources.items():
        found = landscape(paths, given.work)
        landscapes[name] = [kernel for workload, kernel in found.items() if workload not in taken]
        taken.update(found)
    target = Target(resolve_target("host"))
    table: list[Row] = []
    for name in given.of or [name for name, paths in sources.items() if any(path.is_dir() for path in paths)]:
        rich = [kernel for kernel in landscapes[name] if len(kernel.schedules) >= LEAST_SCHEDULES]
        _PROGRESS.print(f"{name}: {len(rich)} of {len(landscapes[name])} kernels have enough schedules")
        if not rich:
            sys.exit(f"{name}: nothing to choose from; record more trials (at least {LEAST_SCHEDULES} a kernel)")
        others = [kernel for other, found in landscapes.items() if other != name for kernel in found]
        known = samples_of(others, given.samples, given.per_kernel, 0)
        table += Comparison(rich, known, target, given.seeds, given.free).rows(name)
    show(table)
    document = {"seeds": given.seeds, "marks": MARKS, "free": given.free, "rows": [vars(each) for each in table]}
    given.out.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
