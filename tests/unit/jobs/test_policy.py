"""Which task is next, and with how many trials."""

from tests.unit.jobs.scenarios import spec
from tunefarm_coordinator.jobs.policy import DynamicPolicy
from tunefarm_coordinator.jobs.task import TaskState

POLICY = DynamicPolicy(first_round=4, round_size=8)


def task(at: int, charged: int = 0, seconds: float | None = None, weight: int = 1, flops: float = 1.0) -> TaskState:
    state = TaskState(spec(at, weight, flops), trials_per_kernel=100, patience=10, charged=charged)
    if seconds is not None:
        state.take(f"candidate of {at}", seconds)
    return state


def chosen(*tasks: TaskState, free: int = 100) -> tuple[str, int] | None:
    choice = POLICY.next_round(tasks, free)
    return None if choice is None else (choice[0].workload, choice[1])


def test_nothing_is_chosen_without_free_trials_or_open_tasks() -> None:
    closed, busy = task(0), task(1)
    closed.exhausted = True
    busy.in_round, busy.unsettled = True, 4
    assert chosen(task(2), free=0) is None
    assert chosen(closed, busy) is None


def test_first_rounds_come_first_the_heaviest_before_all() -> None:
    assert chosen(task(0, charged=4, seconds=1.0), task(1, flops=5.0), task(2, weight=9)) == ("task2", 4)


def test_first_rounds_shrink_so_that_the_budget_reaches_all() -> None:
    assert chosen(task(0), task(1), task(2), free=8) == ("task2", 2)
    assert chosen(task(0), task(1), task(2), free=2) == ("task2", 1)
    assert POLICY.first_rounds([task(0), task(1), task(2)], budget=2) == {"task0": 0, "task1": 1, "task2": 1}
    assert POLICY.first_rounds([task(0), task(1), task(2)], budget=11) == {"task0": 4, "task1": 4, "task2": 3}


def test_a_busy_task_that_waits_for_its_first_round_keeps_a_trial() -> None:
    busy, other = task(0), task(1, charged=4, seconds=1.0)
    busy.in_round = True
    assert chosen(busy, other, free=1) is None
    assert chosen(busy, other, free=3) == ("task1", 2)
    busy.unsettled = 1
    assert chosen(busy, other, free=3) == ("task1", 3)


def test_later_rounds_go_where_the_model_spends_its_time() -> None:
    assert chosen(task(0, 8, seconds=1e-3), task(1, 8, seconds=2e-3)) == ("task1", 8)
    assert chosen(task(0, 8, seconds=1e-3, weight=3), task(1, 8, seconds=2e-3)) == ("task0", 8)
    assert chosen(task(0, 8, seconds=1e-3), task(1, 80, seconds=2e-3)) == ("task0", 8)
    assert chosen(task(0, 8, seconds=1e-3), free=5) == ("task0", 5)


def test_rounds_that_bring_nothing_send_trials_elsewhere() -> None:
    dull = task(0, 8, seconds=3e-3)
    assert chosen(dull, task(1, 8, seconds=1e-3)) == ("task0", 8)
    dull.dull_rounds = 2
    assert chosen(dull, task(1, 8, seconds=1e-3)) == ("task1", 8)


def test_a_task_of_which_nothing_is_known_counts_as_the_slowest() -> None:
    assert chosen(task(0, 8), task(1, 9, seconds=2e-3), task(2, 8, seconds=1e-3)) == ("task0", 8)
    assert chosen(task(0, 80), task(1, 8, seconds=2e-3), task(2, 8, seconds=1e-3)) == ("task1", 8)
