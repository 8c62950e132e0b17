"""The budget and each task's quota."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.jobs.scenarios import spec
from tunefarm_coordinator.jobs.allotment import allot
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
