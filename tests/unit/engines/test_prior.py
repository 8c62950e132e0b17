"""The analytic prior and its blend with the learned model."""

from collections.abc import Sequence

import numpy as np
import pytest
from tvm.target import Target

from tunefarm_coordinator.engines.cost_model import ScoreModel
from tunefarm_coordinator.engines.prior import RooflinePrior
from tunefarm_coordinator.engines.ranking import Ranking

_COLUMNS = 164
_X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "znver4", "num-cores": 2}
_ITERATIONS, _VECTOR, _PARALLEL = 161, 17, 39


def _store(iterations: float, vector: float = 0, parallel: float = 0) -> np.ndarray:
    row = np.zeros((1, _COLUMNS), np.float32)
    for column, value in ((_ITERATIONS, iterations), (_VECTOR, vector), (_PARALLEL, parallel)):
        row[0, column] = np.log2(1 + value)
    return row


class _Model(ScoreModel):
    """Likes the candidates in the order given, last best."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def score(self, candidates: Sequence[np.ndarray]) -> np.ndarray:
        return np.arange(len(candidates), dtype=np.float64)


@pytest.mark.parametrize(
    ("faster", "slower"),
    [
        (_store(1e6, vector=16), _store(1e6)),
        (_store(1e6, vector=16), _store(1e6, vector=4)),
        (_store(1e6, parallel=2), _store(1e6)),
        (_store(1e5), _store(1e6)),
        (_store(1e6), np.concatenate([_store(1e6), _store(1e6)])),
    ],
)
def test_prefers_simd_cores_and_less_work(faster: np.ndarray, slower: np.ndarray) -> None:
    better, worse = RooflinePrior(lanes=16, cores=2).score([faster, slower])
    assert better > worse


def test_more_lanes_or_cores_than_there_are_count_for_nothing() -> None:
    prior = RooflinePrior(lanes=8, cores=2)
    scores = prior.score([_store(1e6, vector=8, parallel=2), _store(1e6, vector=64, parallel=500)])
    assert scores[0] == pytest.approx(scores[1])


def test_reads_the_machine_from_the_target() -> None:
    znver4 = RooflinePrior.of(Target(_X86))
    assert znver4 is not None
    expected = RooflinePrior(lanes=16, cores=2).score([_store(1e6, vector=64, parallel=64)])
    assert znver4.score([_store(1e6, vector=64, parallel=64)]) == pytest.approx(expected)


def test_has_no_opinion_on_gpus() -> None:
    assert RooflinePrior.of(Target({"kind": "cuda", "arch": "sm_90"})) is None


def test_the_prior_decides_while_nothing_is_known() -> None:
    drafts = [_store(1e6), _store(1e6, vector=16, parallel=2), _store(1e6, vector=16)]
    assert Ranking(Target(_X86)).order(drafts, None).tolist() == [1, 2, 0]


def test_the_model_decides_once_it_has_seen_enough() -> None:
    drafts = [_store(1e6, vector=16), _store(1e6, vector=8), _store(1e6)]
    ranking = Ranking(Target(_X86))
    assert ranking.order(drafts, _Model(samples=10)).tolist() == [0, 1, 2]
    assert ranking.order(drafts, _Model(samples=1000)).tolist() == [2, 1, 0]


def test_without_prior_and_model_drafts_stay_in_random_order() -> None:
    drafts = [_store(1e6), _store(1e3)]
    assert Ranking(Target({"kind": "cuda", "arch": "sm_90"})).order(drafts, None).tolist() == [0, 1]


def test_estimates_are_the_prior_where_every_draft_has_one() -> None:
    drafts = [_store(1e6), _store(1e6, vector=16, parallel=2), _store(1e6, vector=16)]
    ranking = Ranking(Target(_X86))
    assert ranking.order(drafts, None, [2e-6, 3e-6, 1e-6]).tolist() == [2, 0, 1]
    assert ranking.order(drafts, None, [2e-6, None, 1e-6]).tolist() == [1, 2, 0]
    assert ranking.order(drafts, _Model(samples=10), [1e-6, 2e-6, 3e-6]).tolist() == [0, 1, 2]
    assert ranking.order(drafts, _Model(samples=1000), [1e-6, 2e-6, 3e-6]).tolist() == [2, 1, 0]


def test_estimates_order_drafts_for_gpus() -> None:
    ranking = Ranking(Target({"kind": "cuda", "arch": "sm_90"}))
    assert ranking.order([_store(1e6), _store(1e3)], None, [2e-6, 1e-6]).tolist() == [1, 0]
