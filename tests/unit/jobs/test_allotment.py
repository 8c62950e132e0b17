"""The budget and each task's quota."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.jobs.scenarios import spec
from tunefarm_coordinator.jobs.allotment import allot
from tunefarm_coordinator.jobs.events import TaskSpec
from tunefarm_coordinator.jobs.options import JobOptions

TEMPLATED = replace(spec(0), template="conv2d.x86")
AUTOTVM = JobOptions(trials_per_kernel=20, early_stopping=5, tuner="autotvm")


def test_each_templated_kernel_gets_its_trials_and_the_others_none() -> None:
    allotment = allot(AUTOTVM, [TEMPLATED, replace(spec(1), template="dense.x86"), spec(2)])
    assert allotment.quotas == {"task0": 20, "task1": 20, "task2": 0}
    assert allotment.budget == 40


def test_records_count_first_but_exploration_trials_are_made_whatever_is_on_record() -> None:
    known = replace(TEMPLATED, known=15)
    assert allot(AUTOTVM, [known]).budget == 5
    assert allot(replace(AUTOTVM, exploration_trials=8), [known]).budget == 8
    assert allot(AUTOTVM, [replace(TEMPLATED, known=99)]).budget == 0
    assert allot(replace(AUTOTVM, exploration_trials=50), [known]).budget == 50


def test_a_cap_is_shared_evenly_to_the_trial() -> None:
    tasks = [replace(spec(at, flops=1e9 - at), template="t") for at in range(3)]
    assert allot(replace(AUTOTVM, max_trials=10), tasks).quotas == {"task0": 4, "task1": 3, "task2": 3}
    # What one does not want is the others'.
    assert allot(replace(AUTOTVM, max_trials=10), [replace(tasks[0], known=19), *tasks[1:]]).quotas == {
        "task0": 1,
        "task1": 5,
        "task2": 4,
    }


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=8), st.none() | st.integers(1, 90))
def test_quotas_add_up_to_the_budget(tasks: list[tuple[int, bool]], cap: int | None) -> None:
    specs = [replace(spec(at), known=known, template="t" if has else "") for at, (known, has) in enumerate(tasks)]
    uncapped, allotment = allot(AUTOTVM, specs), allot(replace(AUTOTVM, max_trials=cap), specs)
    quotas = [quota for quota in allotment.quotas.values() if quota is not None]
    assert allotment.budget == sum(quotas) == min(uncapped.budget, uncapped.budget if cap is None else cap)
    wanted = {name: quota for name, quota in uncapped.quotas.items() if quota}
    assert all(0 <= (allotment.quotas[name] or 0) <= quota for name, quota in wanted.items())
    short = [allotment.quotas[name] or 0 for name, quota in wanted.items() if (allotment.quotas[name] or 0) < quota]
    if short:
        assert max(short) - min(short) <= 1, "not even"
        assert max(quotas) <= max(short) + 1


POOL = JobOptions(trials_per_kernel=8, early_stopping=5)


def _measured(at: int, known: int, seconds: float | None, weight: int = 1) -> TaskSpec:
    return replace(spec(at, weight), known=known, known_seconds=seconds)


def test_a_pool_is_whole_where_nothing_was_ever_measured() -> None:
    allotment = allot(POOL, [spec(0), spec(1)])
    assert (allotment.budget, allotment.quotas) == (16, {"task0": None, "task1": None})


def test_tasks_that_earlier_jobs_gave_their_shares_get_nothing() -> None:
    """By weight times seconds, less one trial each: 12.5 and 3.5 of 16."""
    allotment = allot(POOL, [_measured(0, 12, 3e-3), _measured(1, 4, 0.5e-3, weight=2)])
    assert (allotment.budget, allotment.quotas) == (0, {"task0": 0, "task1": 0})


def test_what_one_has_had_too_many_of_another_may_lack_by_a_round() -> None:
    assert allot(POOL, [_measured(0, 5, 3e-3), _measured(1, 11, 1e-3)]).budget == 0
    allotment = allot(POOL, [_measured(0, 6, 3e-3), _measured(1, 4, 1e-3)])
    assert (allotment.budget, allotment.quotas) == (6, {"task0": None, "task1": None})


def test_far_too_few_are_made_up_for_by_no_other() -> None:
    """Of 16, 12.5 are the heavy kernel's."""
    allotment = allot(POOL, [_measured(0, 4, 3e-3), _measured(1, 500, 1e-3)])
    assert (allotment.budget, allotment.quotas) == (9, {"task0": None, "task1": 0})


def test_a_few_trials_that_failed_are_not_made_again() -> None:
    assert allot(POOL, [_measured(0, 8, 1e-3), _measured(1, 7, 1e-3)]).budget == 0


def test_twice_the_budget_is_half_of_it_again() -> None:
    tasks = [_measured(0, 13, 3e-3), _measured(1, 3, 1e-3)]
    assert allot(POOL, tasks).budget == 0
    assert allot(replace(POOL, trials_per_kernel=16), tasks).budget == 16


def test_a_new_kernel_among_known_ones_gets_the_share_of_the_slowest() -> None:
    allotment = allot(POOL, [_measured(0, 500, 1e-3), _measured(1, 500, 1e-3), spec(2)])
    assert (allotment.budget, allotment.quotas) == (8, {"task0": 0, "task1": 0, "task2": None})


def test_a_larger_budget_searches_on() -> None:
    tasks = [_measured(0, 8, 1e-3), _measured(1, 8, 1e-3)]
    assert allot(POOL, tasks).budget == 0
    assert allot(replace(POOL, trials_per_kernel=64), tasks).budget == 2 * (64 - 8)


def test_a_kernel_that_costs_next_to_nothing_is_tried_once() -> None:
    assert allot(POOL, [_measured(0, 16, 1.0), _measured(1, 0, 1e-9)]).quotas == {"task0": 0, "task1": None}


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.none() | st.floats(1e-7, 1.0), st.integers(1, 9)), min_size=1, max_size=8
    ),
    st.none() | st.integers(1, 90),
)
def test_a_pool_is_never_more_than_what_was_asked_for(
    tasks: list[tuple[int, float | None, int]], cap: int | None
) -> None:
    specs = [_measured(at, known, seconds, weight) for at, (known, seconds, weight) in enumerate(tasks)]
    options = replace(POOL, max_trials=cap)
    allotment = allot(options, specs)
    assert 0 <= allotment.budget <= min(8 * len(specs), 8 * len(specs) if cap is None else cap)
    assert (allotment.budget == 0) == all(quota == 0 for quota in allotment.quotas.values())
