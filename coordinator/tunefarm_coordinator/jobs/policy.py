"""Which task gets the next round, and how large. Pure.

Both policies give every task that wants trials a first small round before any gets a second; then they differ.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunefarm_coordinator.jobs.allotment import allot
from tunefarm_coordinator.jobs.events import TaskSpec
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.task import TaskState


class Policy(Protocol):
    """Decides on what is known now; holds nothing."""

    def next_round(self, tasks: Iterable[TaskState], free: int) -> tuple[TaskState, int] | None:
        """The task to visit and how many trials to ask for; None if nothing can be asked for now."""

    def first_rounds(self, tasks: Iterable[TaskState], budget: int) -> dict[str, int]:
        """Trials of each task's first round under `budget`, by workload; 0 where the budget does not reach. A task
        that wants none is left out."""


@dataclass(frozen=True)
class _FirstRounds:
    """What both policies share.

    A first round takes at most half of what the budget has for a task, so that the other half can go where the
    first results point.
    """

    first_round: int = 8
    round_size: int = 8

    def next_round(self, tasks: Iterable[TaskState], free: int) -> tuple[TaskState, int] | None:
        """See `Policy.next_round`."""
        every = list(tasks)
        waiting = [task for task in every if task.waits_for_first_round]
        first = [task for task in waiting if not task.in_round]
        if first and free > 0:
            return self._first(first, free, len(waiting), self._half(every, free))
        # A busy task that waits for its first round keeps a trial until then.
        free -= len(waiting)
        idle = [task for task in every if task.open and task.covered and not task.in_round]
        if free <= 0 or not idle:
            return None
        best = self._choose(idle, every)
        return best, best.within_quota(min(self.round_size, free))

    def first_rounds(self, tasks: Iterable[TaskState], budget: int) -> dict[str, int]:
        """See `Policy.first_rounds`."""
        every = list(tasks)
        half = self._half(every, budget)
        waiting = [task for task in every if not task.tuned_enough]
        rounds = {task.workload: 0 for task in waiting}
        while waiting and budget > 0:
            task, count = self._first(waiting, budget, len(waiting), half)
            rounds[task.workload] = count
            budget -= count
            waiting.remove(task)
        return rounds

    def _choose(self, idle: Sequence[TaskState], every: Sequence[TaskState]) -> TaskState:
        raise NotImplementedError

    def _half(self, tasks: Sequence[TaskState], free: int) -> int:
        """Half of an equal share of the whole budget, at least a trial."""
        wanting = sum(not task.tuned_enough for task in tasks)
        spent = sum(task.charged + task.unsettled for task in tasks)
        return max(1, (free + spent) // (2 * max(1, wanting)))

    def _first(self, ready: list[TaskState], free: int, sharers: int, half: int) -> tuple[TaskState, int]:
        """The heaviest of `ready`; what is left still reaches all `sharers` of a first round, if there is that much."""
        task = max(ready, key=lambda task: (task.flops * task.weight, task.workload))
        return task, task.within_quota(max(1, min(self.first_round, half, free // sharers)))


@dataclass(frozen=True)
class DynamicPolicy(_FirstRounds):
    """Rounds where they promise most, from one pool.

    The promise of a task is `weight * best / (trials + 1)`: the optimistic guess of Ansor (OSDI'20, section 6,
    the `-g_i / t_i` term of the gradient) that a task's latency falls as its trials grow, so that trials go
    where the model spends its time; it is halved for every round in a row that brought nothing. A task of which
    nothing could be measured counts as slow as the slowest: it may not eat the budget of those that work.
    """

    def _choose(self, idle: Sequence[TaskState], every: Sequence[TaskState]) -> TaskState:
        unknown = max((task.best_seconds for task in every if task.best_seconds is not None), default=1.0)
        return max(idle, key=lambda task: (task.promise(unknown), task.workload))


@dataclass(frozen=True)
class UniformPolicy(_FirstRounds):
    """To each task the same: whoever has had the least is next. What one task leaves goes to no other."""

    def _choose(self, idle: Sequence[TaskState], every: Sequence[TaskState]) -> TaskState:  # noqa: ARG002
        return min(idle, key=lambda task: (task.charged, -task.flops * task.weight, task.workload))


def policy_for(options: JobOptions) -> Policy:
    """The policy that belongs to the tuner."""
    return UniformPolicy() if options.tuner == "autotvm" else DynamicPolicy()


@dataclass(frozen=True)
class Outlook:
    """What a job would come to. `first_rounds`: trials of each task's first round, by workload, 0 for a task that gets
    nothing; `quotas`: see `Allotment`."""

    budget: int
    first_rounds: dict[str, int]
    quotas: dict[str, int | None]


def outlook(options: JobOptions, specs: Sequence[TaskSpec]) -> Outlook:
    """The job's budget and first rounds, before anything is spent."""
    allotment = allot(options, specs)
    tasks = [TaskState.of(spec, options, allotment.quotas[spec.workload]) for spec in specs]
    first = policy_for(options).first_rounds(tasks, allotment.budget)
    return Outlook(
        allotment.budget,
        {spec.workload: first.get(spec.workload, 0) for spec in specs},
        dict(allotment.quotas),
    )
