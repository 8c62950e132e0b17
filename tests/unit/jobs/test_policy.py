"""Which task is next, and with how many trials."""

from tests.unit.jobs.scenarios import spec
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.policy import DynamicPolicy, UniformPolicy, outlook, policy_for
from tunefarm_coordinator.jobs.task import TaskState

POLICY = DynamicPolicy(first_round=4, first_share=0.5, round_size=8)


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
    assert chosen(task(0), task(1), task(2), free=2) == ("task2", 1)
    assert POLICY.first_rounds([task(0), task(1), task(2)], budget=2) == {"task0": 0, "task1": 1, "task2": 1}
    assert POLICY.first_rounds([task(0), task(1), task(2)], budget=100) == {"task0": 4, "task1": 4, "task2": 4}


def test_first_rounds_take_their_share_of_the_budget_at_most() -> None:
    assert chosen(task(0), task(1), task(2), free=18) == ("task2", 3)
    begun = task(2)
    begun.in_round, begun.unsettled = True, 3
    # What is under way counts: the last of the first rounds is as large as the first.
    assert chosen(task(0), task(1), begun, free=15) == ("task1", 3)
    assert POLICY.first_rounds([task(0), task(1), task(2)], budget=11) == {"task0": 1, "task1": 1, "task2": 1}


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


def test_a_first_round_of_two_leaves_most_of_the_budget_for_where_it_pays() -> None:
    tasks = [task(0), task(1), task(2)]
    policy = DynamicPolicy()
    assert policy.first_rounds(tasks, budget=1000) == {"task0": 2, "task1": 2, "task2": 2}
    assert policy.first_rounds(tasks, budget=12) == {"task0": 1, "task1": 1, "task2": 1}


def test_a_task_of_which_nothing_is_known_counts_as_the_slowest() -> None:
    assert chosen(task(0, 8), task(1, 9, seconds=2e-3), task(2, 8, seconds=1e-3)) == ("task0", 8)
    assert chosen(task(0, 80), task(1, 8, seconds=2e-3), task(2, 8, seconds=1e-3)) == ("task1", 8)


# AutoTVM: the same to each.


def quota_task(at: int, quota: int, charged: int = 0) -> TaskState:
    state = task(at, charged, seconds=1e-3 if charged else None)
    state.quota = quota
    return state


def test_uniform_goes_to_whoever_has_had_the_least_within_its_quota() -> None:
    policy = UniformPolicy(first_round=4, round_size=8)
    slow, other, done = quota_task(0, 16, 8), quota_task(1, 16, 6), quota_task(2, 8, 8)
    choice = policy.next_round([slow, other, done], 100)
    assert choice is not None
    assert (choice[0].workload, choice[1]) == ("task1", 8)
    choice = policy.next_round([quota_task(1, 8, 6), done], 100)
    assert choice is not None
    assert (choice[0].workload, choice[1]) == ("task1", 2)
    assert policy.next_round([done, quota_task(3, 0)], 100) is None


def test_the_tuner_picks_the_policy() -> None:
    assert isinstance(policy_for(JobOptions(4, 9)), DynamicPolicy)
    assert isinstance(policy_for(JobOptions(4, 9, tuner="autotvm")), UniformPolicy)


def test_outlook_says_which_tasks_get_nothing() -> None:
    seen = outlook(JobOptions(4, 9, max_trials=10), [spec(at, flops=1e6 + at) for at in range(29)])
    assert seen.budget == 10
    assert [name for name, count in seen.first_rounds.items() if count] == [f"task{at}" for at in range(19, 29)]
    assert set(seen.first_rounds.values()) == {0, 1}
    assert set(seen.quotas.values()) == {None}
