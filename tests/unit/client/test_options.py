"""The table of semantics: which tuner runs, and what is said about it on the wire."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from tunefarm.errors import InvalidInput
from tunefarm.options import AutoschedulerOptions, AutoTVMOptions, BothOptions, options_of_tuner, pick_tuner
from tunefarm.request import JobRequest
from tunefarm.wire import job_spec


@pytest.mark.parametrize(
    ("options", "loose", "expected", "given"),
    [
        (None, {}, None, set()),
        (AutoschedulerOptions(), {}, AutoschedulerOptions(1000, 250, 3), set()),
        (AutoTVMOptions(), {}, AutoTVMOptions(2000, 500, 0, 0), set()),
        (AutoTVMOptions(7), {}, AutoTVMOptions(7), {"kernel_trials"}),
        (None, {"kernel_trials": 5}, AutoTVMOptions(kernel_trials=5), {"kernel_trials"}),
        (
            None,
            {"early_stopping_threshold": 5},
            AutoTVMOptions(early_stopping_threshold=5),
            {"early_stopping_threshold"},
        ),
        (
            None,
            {"kernel_trials": 9, "early_stopping_threshold": 5, "random_trials": 1},
            AutoTVMOptions(9, 5, random_trials=1),
            {"kernel_trials", "early_stopping_threshold", "random_trials"},
        ),
        (None, {"trials_per_kernel": 3}, AutoschedulerOptions(3), {"trials_per_kernel"}),
        (
            None,
            {"trials_per_kernel": 3, "early_stopping_threshold": 1},
            AutoschedulerOptions(3, 1),
            {"trials_per_kernel", "early_stopping_threshold"},
        ),
        (None, {"kernel_trials": None}, None, set()),
    ],
)
def test_picks_the_tuner(options: Any, loose: dict[str, int | None], expected: Any, given: set[str]) -> None:
    picked = pick_tuner(options, **loose)
    assert picked == expected
    assert (picked.given if picked else set()) == given


@pytest.mark.parametrize(
    ("options", "loose", "says"),
    [
        (AutoschedulerOptions(), {"trials_per_kernel": 3}, r"trials_per_kernel .* drop it .*AutoschedulerOptions"),
        (AutoTVMOptions(), {"early_stopping_threshold": 3}, r"early_stopping_threshold .* drop tuning_options"),
        (None, {"trials_per_kernel": 3, "kernel_trials": 4}, "drop kernel_trials for .*, or trials_per_kernel for"),
        (None, {"top_trials_per_kernel": 3, "random_trials": 4}, "drop random_trials"),
    ],
)
def test_refuses_a_mixture_and_says_what_to_drop(options: Any, loose: dict[str, int], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        pick_tuner(options, **loose)


@pytest.mark.parametrize(
    ("tuner", "given", "expected"),
    [
        ("autoscheduler", {}, AutoschedulerOptions()),
        ("autoscheduler", {"early_stopping_threshold": 5}, AutoschedulerOptions(early_stopping_threshold=5)),
        ("autotvm", {"kernel_trials": 5, "trials_per_kernel": None}, AutoTVMOptions(5)),
        ("both", {"trials_per_kernel": 5}, BothOptions(5)),
    ],
)
def test_a_named_tuner_takes_its_parameters(tuner: str, given: dict[str, int | None], expected: Any) -> None:
    assert options_of_tuner(tuner, **given) == expected


@pytest.mark.parametrize(
    ("tuner", "given"), [("ansor", {}), ("autotvm", {"trials_per_kernel": 3}), ("both", {"kernel_trials": 3})]
)
def test_a_named_tuner_refuses_the_others_parameters(tuner: str, given: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        options_of_tuner(tuner, **given)


@pytest.mark.parametrize("bad", [0, -1, 2**32, 1.5, True, "3"])
def test_refuses_numbers_that_cannot_be_served(bad: Any) -> None:
    with pytest.raises(InvalidInput, match="trials_per_kernel"):
        AutoschedulerOptions(trials_per_kernel=bad)
    with pytest.raises(InvalidInput, match="kernel_trials"):
        pick_tuner(None, kernel_trials=bad)


def test_zero_exploration_is_allowed() -> None:
    assert AutoTVMOptions(exploration_trials=0, random_trials=0).given == {"exploration_trials", "random_trials"}


def test_copies_keep_what_was_given() -> None:
    options = AutoschedulerOptions(trials_per_kernel=1000)
    for copied in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert copied == options
        assert copied.given == {"trials_per_kernel"}


def _spec(tuning: Any, **caps: Any) -> Any:
    request = JobRequest("m", "host", [{"x": (1, 3)}], tuning, project="p", owner="o", name="n", **caps)
    return job_spec(request, "trace")


def test_only_what_was_given_is_set_on_the_wire() -> None:
    spec = _spec(AutoschedulerOptions(trials_per_kernel=1000))
    assert spec.WhichOneof("tuning") == "autoscheduler"
    assert spec.autoscheduler.trials_per_kernel == 1000
    assert not spec.autoscheduler.HasField("early_stopping_threshold")
    assert not spec.HasField("max_trials")
    assert not spec.HasField("max_seconds")
    assert not spec.HasField("seed")
    assert list(spec.shape_sets[0].inputs["x"].dims) == [1, 3]


def test_a_tuner_named_without_options_is_present_and_empty() -> None:
    assert _spec(AutoTVMOptions()).WhichOneof("tuning") == "autotvm"
    assert _spec(BothOptions()).WhichOneof("tuning") == "both"
    assert _spec(None).WhichOneof("tuning") is None


def test_zero_is_sent_where_it_was_given() -> None:
    spec = _spec(AutoTVMOptions(random_trials=0), seed=0, max_trials=4, max_seconds=1.5)
    assert spec.autotvm.HasField("random_trials")
    assert spec.HasField("seed")
    assert (spec.max_trials, spec.max_seconds) == (4, 1.5)
