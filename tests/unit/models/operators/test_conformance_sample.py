"""A fixed sample of `make conformance`, in this process; the whole takes ten minutes."""

import warnings
from collections.abc import Mapping

import pytest

from tests.conformance.cases import Case, cases_of
from tests.conformance.scope import frozen, outside
from tests.conformance.verdict import PASSED, judge

# Modules of ONNX's that make the cases, each with those that are run here.
SAMPLE = {
    "resize": ("test_resize_upsample_scales_nearest", "test_resize_downsample_scales_cubic"),
}


@pytest.fixture(scope="module")
def cases() -> Mapping[str, Case]:
    """Making them warns of overflows that they are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in cases_of(list(SAMPLE))}


@pytest.mark.parametrize("name", [name for names in SAMPLE.values() for name in names])
def test_the_sample_passes(name: str, cases: Mapping[str, Case]) -> None:
    case = cases[name]
    assert outside(case) is None
    verdict = judge(frozen(case, cases.get(name.split("_expanded")[0])))
    assert verdict.outcome == PASSED, verdict.reason
