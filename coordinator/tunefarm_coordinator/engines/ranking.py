"""The order in which drafts are promising: learned score and analytic prior, blended by experience."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tvm.target import Target

from tunefarm_coordinator.engines.cost_model import ScoreModel
from tunefarm_coordinator.engines.prior import RooflinePrior

# The prior weighs as much as the model when the model has seen this many candidates. Models fitted on 20 to
# 120 candidates of five convolutions ranked a sixth best with about this share (and badly with none).
_EQUAL_AT = 60


class Ranking:
    """Orders feature arrays for one target."""

    def __init__(self, target: Target) -> None:
        self._prior = RooflinePrior.of(target)

    def order(
        self,
        candidates: Sequence[NDArray[np.float32]],
        model: ScoreModel | None,
        estimates: Sequence[float | None] = (),
    ) -> NDArray[np.intp]:
        """Indices of the candidates, most promising first. Without model and prior: as they came. `estimates`: seconds,
        by whoever made the candidates; where all have one, they are the prior."""
        total = np.zeros(len(candidates))
        if model is not None:
            total += _ranks(model.score(candidates))
        prior = self._before_measuring(candidates, estimates)
        if prior is not None:
            weight = 1.0 if model is None else _EQUAL_AT / max(1, model.samples)
            total += weight * _ranks(prior)
        return np.argsort(-total, kind="stable")

    def _before_measuring(
        self, candidates: Sequence[NDArray[np.float32]], estimates: Sequence[float | None]
    ) -> NDArray[np.float64] | None:
        known = [-seconds for seconds in estimates if seconds is not None]
        if known and len(known) == len(candidates):
            return np.array(known)
        return None if self._prior is None else self._prior.score(candidates)


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 for the lowest score; equal scores share the lower rank."""
    return np.searchsorted(np.sort(scores), scores).astype(np.float64)
