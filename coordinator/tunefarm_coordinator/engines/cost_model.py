"""One learned cost model for all tasks of a job. Needs XGBoost and NumPy; no TVM.

The model scores a program by the sum of what boosted trees give to each of its stores, as in Ansor (Zheng
et al., OSDI 2020, section 5.2); trees in place of a neural network, and learning across tasks, follow Chen
et al., "Learning to Optimize Tensor Programs", NeurIPS 2018. A label is the throughput relative to the best
of the same task (best seconds / seconds; 0 for a candidate that failed), so that tasks of any size can be
learned together. The loss is the squared error of the sum, weighted by the label, so that fast programs
count most; failed and slow ones keep a small weight, without which nothing would be learned from them.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

_LEAST_WEIGHT = 0.1
_ROUNDS = 60
_DIGEST_BYTES = hashlib.sha256().digest_size
_TREES = {
    "tree_method": "hist",
    "max_bin": 64,
    "max_depth": 6,
    "eta": 0.15,
    "min_child_weight": 0.0,
    "lambda": 0.5,
    "base_score": 0.0,
    "nthread": 1,
    "verbosity": 0,
}


@dataclass(frozen=True)
class Sample:
    """What is known of one measured candidate.

    Attributes:
        workload: candidates of one workload (on one kind of device) are compared with each other only.
        features: shape (stores, features), float32.
        seconds: time of one call; None for a candidate that failed.
    """

    workload: str
    features: NDArray[np.float32]
    seconds: float | None


@dataclass(frozen=True)
class CostModel:
    """A state of the model, to be sent to searchers.

    Attributes:
        version: grows by one with each fit; 0 before the first.
        samples: measured candidates that it was fitted on.
        model: what `ScoreModel.from_bytes` reads; None before the warm-up is over.
    """

    version: int
    samples: int
    model: bytes | None


class ScoreModel:
    """A fitted model that scores candidates; higher is faster, 1 is about the best of the task so far."""

    def __init__(self, booster: xgboost.Booster) -> None:
        self._booster = booster
        # How many measured candidates the model was fitted on: what its word is worth.
        self.samples = int(booster.attr("samples") or 0)

    @classmethod
    def from_bytes(cls, model: bytes) -> "ScoreModel":
        """Reads `CostModel.model`; raises `ValueError` for anything else."""
        digest, trees = model[:_DIGEST_BYTES], model[_DIGEST_BYTES:]
        # XGBoost aborts the process over bytes that it can't read.
        if hashlib.sha256(trees).digest() != digest:
            raise ValueError(f"not a cost model, or a damaged one ({len(model)} bytes)")
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(trees))
        return cls(booster)

    def score(self, candidates: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Scores of candidates given as feature arrays of shape (stores, features); shape (candidates,)."""
        if not candidates:
            return np.zeros(0)
        rows, starts = _stack(candidates)
        predicted = self._booster.predict(xgboost.DMatrix(rows, nthread=1), output_margin=True)
        return np.add.reduceat(predicted.astype(np.float64), starts)


class CostModelTrainer:
    """Holds the samples of a job and fits the model again as they grow. Deterministic for a seed."""

    def __init__(self, seed: int = 0, warm_up: int = 40) -> None:
        """`warm_up`: measured candidates below which no model is fitted."""
        self._seed = seed
        self._warm_up = warm_up
        self._samples: list[Sample] = []
        self._fitted = CostModel(version=0, samples=0, model=None)

    @property
    def model(self) -> CostModel:
        """The model as last fitted."""
        return self._fitted

    def update(self, samples: Sequence[Sample]) -> CostModel:
        """Adds measured candidates and fits the model again once they have grown by an eighth (a fit after
        each batch would cost more than it tells). Samples without a store row are left out."""
        self._samples.extend(sample for sample in samples if len(sample.features))
        grown = len(self._samples) - self._fitted.samples
        if len(self._samples) >= self._warm_up and grown > 0 and grown * 8 >= self._fitted.samples:
            self._fitted = CostModel(
                version=self._fitted.version + 1,
                samples=len(self._samples),
                model=self._fit(),
            )
        return self._fitted

    def export_dataset(self) -> bytes:
        """All samples, to be given to `from_dataset` after a restart."""
        buffer = io.BytesIO()
        workloads = [sample.workload for sample in self._samples]
        seconds = [np.nan if sample.seconds is None else sample.seconds for sample in self._samples]
        features = [sample.features for sample in self._samples]
        rows, starts = _stack(features) if features else (np.zeros((0, 0), np.float32), np.zeros(0, np.intp))
        np.savez_compressed(
            buffer, workloads=np.array(json.dumps(workloads)), seconds=seconds, rows=rows, starts=starts
        )
        return buffer.getvalue()

    @classmethod
    def from_dataset(cls, dataset: bytes, seed: int = 0, warm_up: int = 40) -> "CostModelTrainer":
        """A trainer that has seen the samples of `export_dataset`, fitted on them."""
        with np.load(io.BytesIO(dataset), allow_pickle=False) as arrays:
            workloads = json.loads(str(arrays["workloads"]))
            packs = np.split(arrays["rows"], arrays["starts"][1:]) if workloads else []
            times = [None if np.isnan(value) else float(value) for value in arrays["seconds"]]
        trainer = cls(seed, warm_up)
        trainer.update([Sample(*fields) for fields in zip(workloads, packs, times, strict=True)])
        return trainer

    def _fit(self) -> bytes:
        rows, starts = _stack([sample.features for sample in self._samples])
        labels = relative_throughputs(self._samples)
        lengths = np.diff(np.append(starts, len(rows)))
        booster = xgboost.train(
            {**_TREES, "seed": self._seed},
            xgboost.DMatrix(rows, label=np.repeat(labels, lengths), nthread=1),
            num_boost_round=_ROUNDS,
            obj=_pack_sum_loss(labels, starts, lengths),
        )
        booster.set_attr(samples=str(len(self._samples)))
        trees = bytes(booster.save_raw("ubj"))
        return hashlib.sha256(trees).digest() + trees


def relative_throughputs(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Best seconds of the sample's workload / its own seconds; 0 for failures. Shape (samples,)."""
    best: dict[str, float] = {}
    for sample in samples:
        if sample.seconds is not None:
            best[sample.workload] = min(best.get(sample.workload, sample.seconds), sample.seconds)
    return np.array([0.0 if sample.seconds is None else best[sample.workload] / sample.seconds for sample in samples])


def _pack_sum_loss(labels: NDArray[np.float64], starts: NDArray[np.intp], lengths: NDArray[np.intp]) -> Any:
    """Gradient and Hessian of weight * (sum of a candidate's rows - label)^2 / 2, by row."""
    weights = np.maximum(labels, _LEAST_WEIGHT)
    hessian = np.repeat(weights, lengths)

    def loss(predicted: NDArray[np.float32], _: xgboost.DMatrix) -> tuple[Any, Any]:
        errors = np.add.reduceat(predicted.astype(np.float64), starts) - labels
        return np.repeat(weights * errors, lengths), hessian

    return loss


def _stack(packs: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """All rows one below the other, and the index of each pack's first row."""
    lengths = [len(pack) for pack in packs]
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.intp)
    return np.concatenate(packs), starts
