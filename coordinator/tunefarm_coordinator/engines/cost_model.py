"""One learned cost model for all tasks of a job. Needs XGBoost and NumPy; no TVM.

Boosted trees that learn across tasks, as in Chen et al., "Learning to Optimize Tensor Programs", NeurIPS 2018.
A label is the throughput relative to the best of the same task (best seconds / seconds; Zheng et al., Ansor,
OSDI 2020, section 5.2), so that tasks of any size are learned together; its logarithm, with a floor at which
failed candidates lie; fast programs weigh more.

A program is described as a whole: the features of its busiest store, and of all stores together. Ansor's
model scores each store and adds the scores up, so programs of more stores get more of everything. On 144
schedules of six convolutions, fitted on five and asked about the sixth, the whole program ranked with 0.62
(Spearman) where the sum gave 0.49, and 0.51 where it gave 0.29 with a third of the samples.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it takes half a second, in every worker process, and few of them score or train
    import xgboost

# Relative throughputs below this are all "slow": the order among them is of no use.
_SLOWEST = 1 / 64
_LEAST_WEIGHT = 0.3
_ROUNDS = 60
_DIGEST_BYTES = hashlib.sha256().digest_size
# Column of per-store features that holds log2(1 + iterations).
ITERATIONS = 161
_TREES = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "max_bin": 64,
    "max_depth": 6,
    "eta": 0.15,
    "min_child_weight": 0.0,
    "colsample_bynode": 0.5,
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
    """A fitted model that scores candidates: log2 of the throughput relative to the task's best so far, so 0 is
    about as fast as that, and higher is faster."""

    def __init__(self, booster: "xgboost.Booster") -> None:
        self._booster = booster
        # How many measured candidates the model was fitted on: what its word is worth.
        self.samples = int(booster.attr("samples") or 0)

    @classmethod
    def from_bytes(cls, model: bytes) -> "ScoreModel":
        """Reads `CostModel.model`; raises `ValueError` for anything else."""
        digest, trees = model[:_DIGEST_BYTES], model[_DIGEST_BYTES:]
        import xgboost

        # XGBoost aborts the process over bytes that it can't read.
        if hashlib.sha256(trees).digest() != digest:
            raise ValueError(f"not a cost model, or a damaged one ({len(model)} bytes)")
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(trees))
        return cls(booster)

    def score(self, candidates: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Scores of candidates given as feature arrays of shape (stores, features); shape (candidates,)."""
        import xgboost

        if not candidates:
            return np.zeros(0)
        programs = np.stack([_describe(candidate) for candidate in candidates])
        predicted = self._booster.predict(xgboost.DMatrix(programs, nthread=1))
        return np.asarray(predicted, dtype=np.float64)


class CostModelTrainer:
    """Holds the samples of a job and fits the model again as they grow. Deterministic for a seed."""

    def __init__(self, seed: int = 0, warm_up: int = 40) -> None:
        """`warm_up`: measured candidates, of tasks with at least two, below which no model is fitted."""
        self._seed = seed
        self._warm_up = warm_up
        self._samples: list[Sample] = []
        self._known: set[bytes] = set()
        self._fitted = CostModel(version=0, samples=0, model=None)

    @property
    def model(self) -> CostModel:
        """The model as last fitted."""
        return self._fitted

    def update(self, samples: Sequence[Sample]) -> CostModel:
        """Adds measured candidates and fits the model again once they have grown by an eighth (a fit after
        each batch would cost more than it tells). Samples without a store row are left out, and so are programs that
        it knows: a task that is opened again brings its whole history."""
        self._samples.extend(sample for sample in samples if len(sample.features) and self._is_new(sample))
        grown = len(self._samples) - self._fitted.samples
        if len(self._comparable()) >= self._warm_up and grown > 0 and grown * 8 >= self._fitted.samples:
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

    def _is_new(self, sample: Sample) -> bool:
        digest = hashlib.sha256(sample.workload.encode() + b"\0" + sample.features.tobytes()).digest()
        new = digest not in self._known
        self._known.add(digest)
        return new

    def _comparable(self) -> list[Sample]:
        """Samples of workloads with more than one: a single one would be its own best, however slow."""
        counts = Counter(sample.workload for sample in self._samples)
        return [sample for sample in self._samples if counts[sample.workload] > 1]

    def _fit(self) -> bytes:
        import xgboost

        samples = self._comparable()
        throughputs = relative_throughputs(samples)
        booster = xgboost.train(
            {**_TREES, "seed": self._seed},
            xgboost.DMatrix(
                np.stack([_describe(sample.features) for sample in samples]),
                label=np.log2(np.maximum(throughputs, _SLOWEST)),
                weight=np.maximum(throughputs, _LEAST_WEIGHT),
                nthread=1,
            ),
            num_boost_round=_ROUNDS,
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


def _describe(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """A program of shape (stores, columns) as one row: its busiest store, the sum over its stores, and their
    number. Columns hold log2(1 + value), so sums are taken of the values."""
    busiest = features[np.argmax(features[:, ITERATIONS])]
    values = np.exp2(features.astype(np.float64)) - 1.0
    total = np.log2(1.0 + np.maximum(values.sum(axis=0), 0.0))
    return np.concatenate([busiest, total, [len(features)]]).astype(np.float32)


def _stack(packs: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """All rows one below the other, and the index of each pack's first row."""
    lengths = [len(pack) for pack in packs]
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.intp)
    return np.concatenate(packs), starts
