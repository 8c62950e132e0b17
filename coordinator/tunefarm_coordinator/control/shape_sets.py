"""A model prepared once for each of its sets of input shapes, and what a job tunes of it: the union of the kernels."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tunefarm_coordinator.compute.messages import PreparedSummary
from tunefarm_coordinator.models.task import TuningTask


@dataclass(frozen=True)
class PreparedSets:
    """What was prepared for a job.

    Attributes:
        sets: one for each shape set, in the job's order.
        tasks: each workload once, most work first; `weight` is the sum over the sets, `name` unique among them.
    """

    sets: tuple[PreparedSummary, ...]
    tasks: tuple[TuningTask, ...]

    @property
    def target(self) -> str:
        return self.sets[0].target

    @property
    def layout(self) -> str:
        """The layout that the preparation chose; several, with commas, where the sets differ."""
        return ", ".join(dict.fromkeys(one.layout for one in self.sets))

    @property
    def pipeline_version(self) -> str:
        return self.sets[0].pipeline_version

    @property
    def memory(self) -> int:
        """Bytes that the largest set takes while it runs, about."""
        return max(one.memory for one in self.sets)

    @property
    def notes(self) -> tuple[str, ...]:
        """Each note once."""
        return tuple(dict.fromkeys(note for one in self.sets for note in one.notes))

    @property
    def vector_functions(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys(name for one in self.sets for name in one.vector_functions))

    @property
    def baselines(self) -> dict[str, str]:
        """Default trace by workload."""
        return {workload: trace for one in self.sets for workload, trace in one.baselines.items()}

    @property
    def templates(self) -> dict[str, str]:
        """Template's name by workload."""
        return {workload: name for one in self.sets for workload, name in one.templates.items()}

    def weights(self, workload: str) -> tuple[int, ...]:
        """How often each set's model calls the kernel; empty where there is one set, whose weight is the task's."""
        if len(self.sets) == 1:
            return ()
        return tuple(sum(task.weight for task in one.tasks if task.workload == workload) for one in self.sets)


def joined(sets: Iterable[PreparedSummary]) -> PreparedSets:
    """The prepared sets, one at least, and the union of their tasks."""
    prepared = tuple(sets)
    if len(prepared) == 1:
        return PreparedSets(prepared, prepared[0].tasks)
    found: dict[str, TuningTask] = {}
    for task in (task for one in prepared for task in one.tasks):
        known = found.get(task.workload)
        if known is not None:
            nodes = tuple(dict.fromkeys((*known.nodes, *task.nodes)))
            task = replace(known, weight=known.weight + task.weight, nodes=nodes)
        found[task.workload] = task
    tasks = sorted(found.values(), key=lambda task: -task.flops * task.weight)
    return PreparedSets(prepared, tuple(_renamed(tasks)))


def _renamed(tasks: Iterable[TuningTask]) -> Iterable[TuningTask]:
    """Kernels of different sets may have the same name (and other inputs): those behind the first get a number."""
    taken: set[str] = set()
    for task in tasks:
        name, count = task.name, 1
        while name in taken:
            count += 1
            name = f"{task.name}_{count}"
        taken.add(name)
        yield replace(task, name=name)
