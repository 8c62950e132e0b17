"""Dynamic against uniform allocation at equal budget, on recorded trials of real jobs. Needs no device.

    python tests/benchmarks/replay_policies.py [--seeds 5] [--trials-per-kernel 16] [--only MODEL ...] [--out FILE]

A value is the model's latency under the dynamic policy by that under the uniform one, after 25%, 50% and 100% of the
same budget: below 1, dynamic is better. Latency is the sum of weights x best over all tasks. Both run the real job
brain (`tests/replay.py`); a seed is one day, the same for both. The A/A row sets uniform against itself on other days:
how far from 1 nothing can be. Intervals hold 95%, from a bootstrap over recordings and seeds.

A quarter of 8 trials per kernel is 2 of each: by then dynamic has given the first rounds and nothing else, and can
hardly be better than uniform, which gives the heaviest kernels 4 each first. With more there is something to decide on.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.recording import Recording, load, names
from tests.replay import Replayed, replay
from tunefarm_coordinator.jobs.options import JobOptions, Tuner

# The policy's form and numbers (`jobs/policy.py`) were chosen by replays of these two. The other recordings were first
# replayed when that was settled.
TUNED_ON = ("squeezenet", "ppocr_direction")
SHARES = (0.25, 0.5, 1.0)
NEVER = 1_000_000
OTHER_DAYS = 1_000
BOOTSTRAPS = 2_000

# By recording: for each seed, the logarithms of the ratios at SHARES.
Ratios = dict[str, list[list[float]]]


@dataclass(frozen=True)
class Row:
    """Geometric means and their 95% intervals (low, high), at each of SHARES."""

    name: str
    ratios: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]


def job(recording: Recording, tuner: Tuner, trials_per_kernel: int, seed: int) -> Replayed:
    """One job without early stopping: AutoTVM's policy is the uniform one."""
    return replay(recording, JobOptions(trials_per_kernel, early_stopping=NEVER, tuner=tuner), seed)


def dynamic_by_uniform(recording: Recording, trials_per_kernel: int, seed: int) -> list[float]:
    """Logarithms, at each of SHARES."""
    ours = job(recording, "autoscheduler", trials_per_kernel, seed)
    return _logs(ours, job(recording, "autotvm", trials_per_kernel, seed))


def uniform_by_itself(recording: Recording, trials_per_kernel: int, seed: int) -> list[float]:
    """The same policy on two days."""
    other = job(recording, "autotvm", trials_per_kernel, seed + OTHER_DAYS)
    return _logs(other, job(recording, "autotvm", trials_per_kernel, seed))


def _logs(ours: Replayed, theirs: Replayed) -> list[float]:
    return [math.log(ours.at(share) / theirs.at(share)) for share in SHARES]


def row(name: str, ratios: Mapping[str, Sequence[Sequence[float]]]) -> Row:
    """The mean over recordings of each one's mean over its seeds."""
    dice = Random(0)
    means, intervals = [], []
    for at in range(len(SHARES)):
        values = [[seed[at] for seed in seeds] for seeds in ratios.values()]
        draws = sorted(_resampled(values, dice) for _ in range(BOOTSTRAPS))
        means.append(math.exp(fmean(fmean(seeds) for seeds in values)))
        low, high = draws[int(0.025 * BOOTSTRAPS)], draws[int(0.975 * BOOTSTRAPS)]
        intervals.append((math.exp(low), math.exp(high)))
    return Row(name, tuple(means), tuple(intervals))


def _resampled(values: Sequence[Sequence[float]], dice: Random) -> float:
    return fmean(fmean(dice.choices(seeds, k=len(seeds))) for seeds in dice.choices(values, k=len(values)))


def rows(recordings: Sequence[Recording], seeds: int, trials_per_kernel: int) -> list[Row]:
    """One for each recording, then the held out ones together, those tuned on, and A/A."""

    def measure(compare: Callable[[Recording, int, int], list[float]]) -> Ratios:
        return {each.model: [compare(each, trials_per_kernel, seed) for seed in range(seeds)] for each in recordings}

    ratios = measure(dynamic_by_uniform)
    tuned = {name: found for name, found in ratios.items() if name in TUNED_ON}
    held_out = {name: found for name, found in ratios.items() if name not in TUNED_ON}
    table = [row(f"{name}{' (tuned on)' if name in tuned else ''}", {name: found}) for name, found in ratios.items()]
    if held_out:
        table.append(row(f"held out, {len(held_out)} together", held_out))
    if tuned:
        table.append(row(f"tuned on, {len(tuned)} together", tuned))
    return [*table, row("A/A: uniform, other days", measure(uniform_by_itself))]


def show(table: Sequence[Row], title: str) -> None:
    shown = Table("latency, dynamic / uniform", *(f"at {share:.0%}" for share in SHARES), title=title)
    for each in table:
        cells = [
            f"{ratio:.3f} [{low:.3f}, {high:.3f}]"
            for ratio, (low, high) in zip(each.ratios, each.intervals, strict=True)
        ]
        shown.add_row(each.name, *cells)
    Console().print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials-per-kernel", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--only", nargs="*", default=names())
    parser.add_argument("--out", type=Path, default=Path("replay_policies.json"))
    given = parser.parse_args()
    recordings = [load(name) for name in given.only]
    document = {"seeds": given.seeds, "tuned_on": TUNED_ON, "shares": SHARES, "budgets": {}}
    for trials in given.trials_per_kernel:
        table = rows(recordings, given.seeds, trials)
        show(table, f"{trials} trials per kernel, {given.seeds} seeds")
        document["budgets"][str(trials)] = [vars(each) for each in table]
    given.out.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
