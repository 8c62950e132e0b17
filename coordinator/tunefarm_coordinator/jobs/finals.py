"""The finals of a job: which schedule each kernel of the package gets. Pure.

Two hurdles. Finalists of a task are checked and timed in turn on one device; the fastest goes into a package. Then
every kernel of that package is timed inside the running model, beside the default schedule in the same place, and
what is not faster there goes out again: a kernel that is timed alone finds its caches and its threads in another
state than inside a model, and of several that are equal the luckiest looks faster.
"""

import math
from collections.abc import Iterable, Mapping
from statistics import median

from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.task import TaskState

# A schedule that could not be timed inside the model has to beat the default one by this much when timed alone.
UNSEEN_MARGIN = 0.95
# Groups in one compare lease: enough to keep a device busy, few enough to lose little with it.
GROUPS_PER_COMPARE = 8


class Finals:
    """Comparisons, and the winners that they leave. Every public attribute is for reading.

    Attributes:
        winners: identity of the best schedule by workload, where it beats the default one.
        compared: the same as the comparisons left it, also where it was dropped inside the model.
        in_model: seconds in one inference (with the winner, with the default schedule) by workload, as far as known.
        settled: the winners have been timed inside the model, or never will be.
        next_compare: number of the next comparison; numbers are not used again in finals that follow these.
    """

    def __init__(self, next_compare: int = 0) -> None:
        self.next_compare = next_compare
        self.winners: dict[str, str] = {}
        self.compared: dict[str, str] = {}
        self.in_model: dict[str, tuple[float, float]] = {}
        self.settled = False
        self._alone: dict[str, float] = {}
        self._comparing: dict[int, dict[int, ins.CompareGroup]] = {}

    # ---- the first hurdle

    def start(
        self, tasks: Iterable[TaskState], artifacts: Mapping[tuple[str, str], ev.Artifact], finalists: int
    ) -> list[ins.Instruction]:
        """The comparisons of all tasks that have more than the default schedule to say about."""
        groups = [group for task in tasks if (group := _group(task, artifacts, finalists)) is not None]
        for at, group in enumerate(groups):
            number = self.next_compare + at // GROUPS_PER_COMPARE
            self._comparing.setdefault(number, {})[at % GROUPS_PER_COMPARE] = group
        self.next_compare += -(-len(groups) // GROUPS_PER_COMPARE)
        return self.comparing()

    def comparing(self) -> list[ins.Instruction]:
        """The comparisons that are not answered yet."""
        return [ins.Compare(number, tuple(groups.items())) for number, groups in sorted(self._comparing.items())]

    def take(self, event: ev.GroupCompared) -> bool:
        """Whether the event answers a comparison that is still open; it is not from now on."""
        group = self._comparing.get(event.compare, {}).pop(event.index, None)
        self._comparing = {number: left for number, left in self._comparing.items() if left}
        return group is not None

    def judge(self, task: TaskState, event: ev.GroupCompared) -> str | None:
        """The fastest finalist with right outputs goes on, unless it is the default schedule. What the user should
        know, if no finalist held."""
        for result in event.results:
            if result.failure is not None:
                task.measured.pop(result.identity, None)
        good = {
            result.identity: median(result.samples)
            for result in event.results
            if result.samples and result.failure is None
        }
        # Of two that come out equal, the one that was faster before: the schedule store judges likewise.
        before = min(good, key=lambda identity: (task.measured.get(identity, math.inf), identity), default=None)
        task.measured.update(good)
        if not good:
            failure = next((result.failure for result in event.results if result.failure), None)
            reason = f"{failure.kind}: {failure.message}" if failure else "not measured"
            return f"{task.spec.name}: no finalist held in the comparison, default schedule kept ({reason})"
        best = min(good, key=lambda identity: (good[identity], identity != before, identity))
        if best != task.spec.baseline:
            self.winners[task.workload] = self.compared[task.workload] = best
            self._alone[task.workload] = good[best] / good.get(task.spec.baseline, math.inf)
        return None

    # ---- the second hurdle

    def settle(self, event: ev.KernelsTimed) -> bool:
        """Drops the winners that do not pay inside the model; whether there were any.

        Samples are compared round by round, as they were taken: the device's speed may change between rounds.
        """
        self.settled = True
        ratios = dict(self._alone)
        for kernel in event.kernels:
            if kernel.workload in self.winners and kernel.tuned and kernel.default:
                self.in_model[kernel.workload] = median(kernel.tuned), median(kernel.default)
                pairs = zip(kernel.tuned, kernel.default, strict=False)
                ratios[kernel.workload] = median(tuned / default for tuned, default in pairs)
        lost = [workload for workload in self.winners if ratios[workload] >= self._limit(workload)]
        for workload in lost:
            del self.winners[workload]
        return bool(lost)

    def _limit(self, workload: str) -> float:
        """The ratio to the default schedule's seconds at which a winner is dropped."""
        if not self._alone[workload]:
            # No default schedule to go back to: it did not hold in the comparison.
            return math.inf
        return 1.0 if workload in self.in_model else UNSEEN_MARGIN

    def clear(self) -> None:
        """Lets go of what is not answered."""
        self._comparing.clear()


def _group(
    task: TaskState, artifacts: Mapping[tuple[str, str], ev.Artifact], finalists: int
) -> ins.CompareGroup | None:
    """The finalists of a task; None where there was never anything but the default schedule.

    Where schedules that were known did not hold, the default one is checked alone: it is best from now on, and what is
    verified counts before what others say.
    """
    built = {name for workload, name in artifacts if workload == task.workload}
    names = task.finalists(finalists, among=built)
    if not names or (names == [task.spec.baseline] and not task.incumbents):
        return None
    return ins.CompareGroup(task.workload, tuple(ins.Finalist(name, artifacts[task.workload, name]) for name in names))
