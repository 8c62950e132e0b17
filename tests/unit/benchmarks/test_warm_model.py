"""The replay of cost models on measured schedules: on made-up kernels whose truth is known."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from landscapes import Kernel, Measured, joined, keep, read
from tvm.target import Target
from warm_model import MARKS, ROUNDS, Comparison, Curves, Job, ratios, row, samples_of

from tunefarm_coordinator.engines.cost_model import CostModelTrainer, Sample
from tunefarm_coordinator.engines.ranking import Ranking

TARGET = Target({"kind": "llvm", "mcpu": "x86-64", "num-cores": 2})


def kernels(count: int, seed: int, cost: Callable[[np.ndarray], float], size: int = 48) -> list[Kernel]:
    """Schedules of one store each; `cost` says how long one takes, in microseconds."""
    rng = np.random.default_rng(seed)

    def schedule() -> Measured:
        features = np.zeros((1, 164), np.float32)
        features[0, 60:72] = rng.uniform(0, 8, 12)
        features[0, 161] = 20
        return Measured(features, cost(features[0]) * 1e-6)

    return [Kernel(f"{seed}-{number}", tuple(schedule() for _ in range(size))) for number in range(count)]


def by_two_columns(features: np.ndarray) -> float:
    return float(np.exp2(0.5 * features[66] - 0.3 * features[70]))


def the_other_way_round(features: np.ndarray) -> float:
    return 1.0 / by_two_columns(features)


def as_samples(known: list[Kernel]) -> list[Sample]:
    return samples_of(known, 1000, 64, seed=0)


@pytest.mark.parametrize(("cost", "helps"), [(by_two_columns, True), (the_other_way_round, False)])
def test_records_help_where_they_say_the_same_and_not_otherwise(
    cost: Callable[[np.ndarray], float], helps: bool
) -> None:
    tuned, others = kernels(3, 1, by_two_columns), kernels(3, 2, cost)
    warm, again, chance = Comparison(tuned, as_samples(others), TARGET, seeds=2, free=True).rows("made up")
    assert (warm.ratios[0] < 0.85) is helps
    assert again.ratios[0] == pytest.approx(1, abs=0.35)
    assert chance.ratios[-1] > 1


def test_the_first_round_is_the_recorded_one_whoever_ranks() -> None:
    tuned = kernels(3, 1, by_two_columns)
    for known in ([], as_samples(kernels(5, 2, by_two_columns))):
        trainer = CostModelTrainer(0)
        trainer.update(known)
        job = Job(tuned, trainer, Ranking(TARGET), Random(0))
        job.run()
        for kernel in tuned:
            begin = job.seen[kernel.workload][: ROUNDS[0]]
            assert all(one is other for one, other in zip(begin, kernel.schedules, strict=False))


def test_a_job_spends_its_trials_and_tells_the_best_of_them() -> None:
    [kernel] = kernels(1, 1, by_two_columns)
    default = Measured(kernel.schedules[0].features + 1, 1e-9, default=True)
    job = Job([Kernel("one", (default, *kernel.schedules))], CostModelTrainer(0), Ranking(TARGET), Random(0))
    # The default schedule is the fastest, and costs no trial.
    assert job.run() == {"one": (1e-9,) * len(MARKS)}
    assert len(job.seen["one"]) == 1 + sum(ROUNDS)
    assert len({each.features.tobytes() for each in job.seen["one"]}) == 1 + sum(ROUNDS)


def test_a_row_is_the_geometric_mean_over_kernels() -> None:
    ours: list[Curves] = [{"a": (1.0,) * 4, "b": (4.0,) * 4}]
    theirs: list[Curves] = [{"a": (2.0,) * 4, "b": (2.0,) * 4}]
    told = row("x", ratios(ours, theirs))
    assert told.ratios == pytest.approx((1.0,) * 4)
    assert told.intervals[0] == pytest.approx((0.5, 2.0))


def test_a_sample_of_records_is_bounded_and_has_each_kernels_fastest() -> None:
    known = kernels(4, 1, by_two_columns)
    samples = samples_of(known, 40, 64, seed=0)
    assert len(samples) == 40
    assert all(
        kernel.best in [each.seconds for each in samples if each.workload == kernel.workload] for kernel in known
    )
    assert len(samples_of(known, 1000, 8, seed=0)) == 4 * 8


def test_what_was_described_is_read_again(tmp_path: Path) -> None:
    [kernel] = kernels(1, 1, by_two_columns, size=3)
    failed = Measured(np.ones((2, 164), np.float32), None, default=True)
    schedules = [(kernel.workload, each) for each in (*kernel.schedules, failed)]
    keep(tmp_path / "kept.npz", schedules)
    again = list(read(tmp_path / "kept.npz"))
    assert [(name, each.seconds, each.default) for name, each in again] == [
        (name, each.seconds, each.default) for name, each in schedules
    ]
    for (_, one), (_, other) in zip(again, schedules, strict=True):
        np.testing.assert_array_equal(one.features, other.features)


def test_what_was_measured_several_times_has_the_median() -> None:
    features = np.ones((1, 164), np.float32)
    assert joined([Measured(features, seconds) for seconds in (3.0, 1.0, None, 2.0)]).seconds == 2.0
    assert joined([Measured(features, None)]).seconds is None
