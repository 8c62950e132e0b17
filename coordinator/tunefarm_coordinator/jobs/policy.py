"""Which task gets the next round, and how large. Pure.

Both policies give every task that wants trials a first small round before any gets a second; then they differ.
"""

from abc import ABC, abstractmethod
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
        """Trials of the first round of each task that waits for one, under `budget`, by workload; 0 where the budget
        does not reach."""


@dataclass(frozen=True)
class _FirstRounds(ABC):
    """What both policies share.

    Attributes:
        first_round: trials of a first round, at most.
        first_share: the same as a share of what an even budget has for a task, so that the rest can go where the
            first results point.
        round_size: trials of a later round, at most.
    """

    first_round: int = 8
    first_share: float = 0.5
    round_size: int = 8

    def next_round(self, tasks: Iterable[TaskState], free: int) -> tuple[TaskState, int] | None:
        """See `Policy.next_round`."""
        every = list(tasks)
        waiting = [task for task in every if task.waits_for_first_round]
        first = [task for task in waiting if not task.in_round]
        if first and free > 0:
            return self._first(first, free, len(waiting), self._share(every, free))
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
        share = self._share(every, budget)
        waiting = [task for task in every if task.waits_for_first_round]
        rounds = {task.workload: 0 for task in waiting}
        while waiting and budget > 0:
            task, count = self._first(waiting, budget, len(waiting), share)
            rounds[task.workload] = count
            budget -= count
            waiting.remove(task)
        return rounds

    @abstractmethod
    def _choose(self, idle: Sequence[TaskState], every: Sequence[TaskState]) -> TaskState:
        """Which of `idle` gets the next round; `every` task is there to compare with."""

    def _share(self, tasks: Sequence[TaskState], free: int) -> int:
        """`first_share` of an even share of the whole budget, at least a trial."""
        wanting = sum(not task.tuned_enough for task in tasks)
        spent = sum(task.charged + task.unsettled for task in tasks)
        return max(1, int((free + spent) * self.first_share / max(1, wanting)))

    def _first(self, ready: list[TaskState], free: int, sharers: int, share: int) -> tuple[TaskState, int]:
        """The heaviest of `ready`; what is left still reaches all `sharers` of a first round, if there is that much."""
        task = max(ready, key=lambda task: (task.flops * task.weight, task.workload))
        return task, task.within_quota(max(1, min(self.first_round, share, free // sharers)))


@dataclass(frozen=True)
class DynamicPolicy(_FirstRounds):
    """Rounds where they promise most, from one pool.

    Zheng et al., "Ansor", OSDI 2020, section 6, give the next round to the task i of the steepest gradient

        df/dt_i = df/dg_i * (alpha * (g_i(t_i) - g_i(t_i - dt)) / dt
                             + (1 - alpha) * min(-g_i(t_i) / t_i, beta * C_i / max V_k - g_i(t_i)))

    with g_i: best seconds of the task, t_i: its trials, df/dg_i: its weight, C_i: its operations, V_k: the throughput
    of a task alike. Here alpha = 0, and there is no bound by throughput: a task promises weight * g_i / (t_i + 1).
    On the recordings that these were chosen on (`tests/benchmarks/replay_policies.py`), the gain of the last rounds
    (alpha = 0.2) made no model faster, and the bound (beta = 1) by less than 2%, at the price of hardly ever visiting
    the best task of its kind. What counted, with up to 10%, was a first round of two instead of eight.

    A task of which nothing could be measured counts as slow as the slowest, and is tried again: but it does not eat the
    budget of those that work, as its promise falls with its trials.
    """

    first_round: int = 2
    first_share: float = 0.25

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
