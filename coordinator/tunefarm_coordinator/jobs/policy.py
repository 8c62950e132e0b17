"""Which task gets the next round, and how large. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from tunefarm_coordinator.jobs.task import TaskState


@dataclass(frozen=True)
class DynamicPolicy:
    """A first small round for every task, then rounds where they promise most.

    The promise of a task is `weight * best / (trials + 1)`: the optimistic guess of Ansor (OSDI'20, section 6,
    the `-g_i / t_i` term of the gradient) that a task's latency falls as its trials grow, so that trials go
    where the model spends its time; it is halved for every round in a row that brought nothing. A task of which
    nothing could be measured counts as slow as the slowest: it may not eat the budget of those that work.
    """

    first_round: int = 4
    round_size: int = 4

    def next_round(self, tasks: Iterable[TaskState], free: int) -> tuple[TaskState, int] | None:
        """The task to visit and how many trials to ask for; None if nothing can be asked for now."""
        every = list(tasks)
        waiting = [task for task in every if task.waits_for_first_round]
        first = [task for task in waiting if not task.in_round]
        if first and free > 0:
            return self._first(first, free, len(waiting))
        # A busy task that waits for its first round keeps a trial until then.
        free -= len(waiting)
        idle = [task for task in every if task.open and task.covered and not task.in_round]
        if free <= 0 or not idle:
            return None
        unknown = max((task.best_seconds for task in every if task.best_seconds is not None), default=1.0)
        best = max(idle, key=lambda task: (task.promise(unknown), task.workload))
        return best, min(self.round_size, free)

    def first_rounds(self, tasks: Iterable[TaskState], budget: int) -> dict[str, int]:
        """Trials of each task's first round under `budget`, by workload; 0 where the budget does not reach."""
        waiting = [task for task in tasks if not task.tuned_enough]
        rounds = {task.workload: 0 for task in waiting}
        while waiting and budget > 0:
            task, count = self._first(waiting, budget, len(waiting))
            rounds[task.workload] = count
            budget -= count
            waiting.remove(task)
        return rounds

    def _first(self, ready: list[TaskState], free: int, sharers: int) -> tuple[TaskState, int]:
        """The heaviest of `ready`; what is left still reaches all `sharers` of a first round, if there is that much."""
        task = max(ready, key=lambda task: (task.flops * task.weight, task.workload))
        return task, max(1, min(self.first_round, free // sharers))
