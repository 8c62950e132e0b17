"""The cost model on data whose truth is known: a made-up machine with vectors, caches and noise."""

import numpy as np
import pytest

from tunefarm_coordinator.engines.cost_model import (
    CostModelTrainer,
    Sample,
    ScoreModel,
    relative_throughputs,
)

_COLUMNS = 164
_VARIED = 12
_ITERATIONS = 161


def _program(rng: np.random.Generator) -> np.ndarray:
    """One to three stores; twelve columns that matter or seem to, and the iterations of each store."""
    features = np.zeros((rng.integers(1, 4), _COLUMNS), np.float32)
    features[:, :_VARIED] = rng.uniform(0, 8, size=(len(features), _VARIED))
    features[:, _ITERATIONS] = rng.uniform(5, 20, size=len(features))
    features[0, _ITERATIONS] = 21
    return features


def _seconds(features: np.ndarray, scale: float, rng: np.random.Generator) -> float:
    """Each store costs more with work, less with vectors, more beyond a cache: some 30-fold in all, as random
    schedules of a convolution do; most of it in the busiest store; with 5% noise."""
    cost = np.exp2(0.3 * features[:, 0] - 0.2 * features[:, 1]) * np.where(features[:, 2] > 5, 2.0, 1.0)
    cost[1:] *= 0.1
    return float(scale * cost.sum() * rng.normal(1.0, 0.05))


def _samples(count: int, seed: int, workloads: int = 4) -> list[Sample]:
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        features = _program(rng)
        scale = 10.0 ** -(index % workloads)
        samples.append(Sample(f"workload-{index % workloads}", features, _seconds(features, scale, rng)))
    return samples


def _rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (left, right)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _fitted(samples: list[Sample], seed: int = 0) -> ScoreModel:
    model = CostModelTrainer(seed).update(samples).model
    assert model is not None
    return ScoreModel.from_bytes(model)


def test_ranks_programs_that_it_has_not_seen() -> None:
    model = _fitted(_samples(300, seed=1))
    unseen = _samples(200, seed=2, workloads=1)
    scores = model.score([sample.features for sample in unseen])
    speeds = np.array([1.0 / sample.seconds for sample in unseen if sample.seconds])
    # Standard deviation of chance over 200 programs: 0.07.
    assert _rank_correlation(scores, speeds) > 0.7


def test_learns_across_tasks_of_any_size() -> None:
    """A task with a thousandth of the seconds of another teaches about it."""
    model = _fitted([sample for sample in _samples(300, seed=1) if sample.workload != "workload-0"])
    unseen = [sample for sample in _samples(400, seed=2) if sample.workload == "workload-0"]
    scores = model.score([sample.features for sample in unseen])
    speeds = np.array([1.0 / sample.seconds for sample in unseen if sample.seconds])
    assert _rank_correlation(scores, speeds) > 0.6


def test_shuffled_seconds_teach_nothing() -> None:
    """The mutation that shows the test above can fail."""
    samples = _samples(300, seed=1, workloads=1)
    seconds = np.random.default_rng(0).permutation([sample.seconds or 0.0 for sample in samples])
    model = _fitted([Sample(s.workload, s.features, float(t)) for s, t in zip(samples, seconds, strict=True)])
    unseen = _samples(200, seed=2, workloads=1)
    scores = model.score([sample.features for sample in unseen])
    speeds = np.array([1.0 / sample.seconds for sample in unseen if sample.seconds])
    assert abs(_rank_correlation(scores, speeds)) < 0.35


def test_no_model_before_the_warm_up() -> None:
    trainer = CostModelTrainer(seed=0, warm_up=40)
    samples = _samples(40, seed=3)
    assert trainer.update(samples[:39]).model is None
    warm = trainer.update(samples[39:])
    assert warm.version == 1
    assert warm.samples == 40
    assert warm.model is not None
    assert ScoreModel.from_bytes(warm.model).samples == 40


def test_fits_again_only_when_the_samples_have_grown() -> None:
    trainer = CostModelTrainer(seed=0)
    samples = _samples(120, seed=3)
    assert trainer.update(samples[:80]).version == 1
    assert trainer.update(samples[80:89]).version == 1
    assert trainer.update(samples[89:90]).version == 2
    assert trainer.update([]).version == 2


def test_same_seed_gives_the_same_model() -> None:
    samples = _samples(200, seed=4)
    first, second = (CostModelTrainer(seed=5).update(samples).model for _ in range(2))
    assert first == second


def test_dataset_survives_a_restart() -> None:
    samples = [*_samples(100, seed=6), Sample("workload-0", _program(np.random.default_rng(0)), None)]
    trainer = CostModelTrainer(seed=7)
    trainer.update(samples)
    restarted = CostModelTrainer.from_dataset(trainer.export_dataset(), seed=7)
    assert restarted.model.model == trainer.model.model
    assert restarted.export_dataset() == trainer.export_dataset()
    assert restarted.update(_samples(50, seed=8)).samples == 151


def test_empty_dataset_survives_a_restart() -> None:
    restarted = CostModelTrainer.from_dataset(CostModelTrainer().export_dataset())
    assert restarted.model.version == 0
    assert restarted.update(_samples(60, seed=9)).samples == 60


def test_failed_candidates_count_as_slowest() -> None:
    features = np.zeros((1, _COLUMNS), np.float32)
    samples = [Sample("a", features, 2.0), Sample("a", features, None), Sample("a", features, 1.0)]
    samples.append(Sample("b", features, 100.0))
    assert relative_throughputs(samples).tolist() == [0.5, 0.0, 1.0, 1.0]


def test_avoids_what_failed() -> None:
    """Programs with a large last column crash; the model ranks such below others as fast."""
    samples = [
        Sample(sample.workload, sample.features, None if sample.features[:, 11].max() > 6 else sample.seconds)
        for sample in _samples(400, seed=10)
    ]
    model = _fitted(samples)
    sound = [s.features.copy() for s in _samples(100, seed=11)]
    doomed = [features.copy() for features in sound]
    for good, bad in zip(sound, doomed, strict=True):
        good[:, 11], bad[:, 11] = 3.0, 7.5
    assert np.mean(model.score(doomed) < model.score(sound)) > 0.8


def test_single_candidates_of_a_task_teach_nothing() -> None:
    """Each would be the best of its task, however slow."""
    singles = [Sample(f"single-{n}", s.features, s.seconds) for n, s in enumerate(_samples(60, seed=13))]
    trainer = CostModelTrainer(seed=0)
    assert trainer.update(singles).model is None
    others = _samples(60, seed=14)
    assert trainer.update(others).model is not None
    unseen = _samples(50, seed=15)
    both, alone = (
        ScoreModel.from_bytes(model).score([sample.features for sample in unseen])
        for model in (trainer.model.model, CostModelTrainer(seed=0).update(others).model)
        if model is not None
    )
    assert np.array_equal(both, alone)


def test_scores_nothing_for_nothing() -> None:
    assert _fitted(_samples(60, seed=12)).score([]).shape == (0,)


def test_samples_without_a_store_are_left_out() -> None:
    trainer = CostModelTrainer(warm_up=1)
    assert trainer.update([Sample("a", np.zeros((0, _COLUMNS), np.float32), 1.0)]).model is None


@pytest.mark.parametrize("model", [b"", b"not a model"])
def test_refuses_bytes_that_are_no_model(model: bytes) -> None:
    with pytest.raises(ValueError, match="cost model"):
        ScoreModel.from_bytes(model)


def test_what_it_knows_is_learned_once() -> None:
    """A task that is opened again brings its history again, and in it what was never learned."""
    known, new = _samples(60, seed=1), _samples(20, seed=2)
    trainer = CostModelTrainer()
    trainer.update(known)
    assert trainer.update(known).version == 1
    fitted = trainer.update([*known, *new])
    assert (fitted.version, fitted.samples) == (2, 80)
