"""Engines: interchangeable ways to propose candidates for a task, chosen by name."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunefarm_coordinator.engines.candidate import Neighbour, Proposal
from tunefarm_coordinator.engines.cost_model import Sample, ScoreModel
from tunefarm_coordinator.errors import InvalidInput


@dataclass(frozen=True)
class TaskRecord:
    """One candidate of the task that was measured before; `seconds` is None where it failed."""

    trace: str
    seconds: float | None


@dataclass(frozen=True)
class Observation:
    """The result of one proposed candidate; `seconds` is None where it failed."""

    identity: str
    seconds: float | None


class Search(Protocol):
    """The search of one task. Synchronous and single-threaded; holds nothing that records can't rebuild."""

    @property
    def exhausted(self) -> bool:
        """Whether the last round found fewer new candidates than it was asked for."""

    def propose(self, count: int, model: ScoreModel | None, breathe: Callable[[], None] = ...) -> list[Proposal]:
        """At most `count` new candidates, most promising first: none proposed, recorded or forbidden
        before. `model` is None as long as the cost model is not warm. `breathe` is called again and again, some tens of
        milliseconds apart, and may take its time."""

    def adopt(self, trace: str) -> Proposal:
        """Takes in a schedule made elsewhere (the untuned default, another job's best) as if it had been
        proposed, so that it can be observed. Raises `InvalidInput` for a trace that does not replay."""

    def observe(self, results: Sequence[Observation]) -> list[Sample]:
        """Takes results in and gives what the cost model can learn from them. A result of an identity
        that this search does not know, or knows the result of already, is left out."""

    def samples(self) -> list[Sample]:
        """What the cost model can learn from the records that the search was opened with."""


class Engine(Protocol):
    """Opens the search of a task."""

    def open(
        self,
        workload: str,
        task_module: str,
        target: str,
        seed: int,
        records: Sequence[TaskRecord] = (),
        forbidden: Collection[str] = (),
        random_trials: int = 0,
        seeds: Sequence[str] = (),
        neighbours: Sequence[Neighbour] = (),
    ) -> Search:
        """Arguments as in `TuningTask` (`task_module`: IRModule as JSON) and target JSON; `records`: all
        results so far; `forbidden`: identities never to be proposed; `random_trials`: so many of the proposals
        to come are drawn at random; `seeds`: traces of schedules to start from, `neighbours`: likewise, of kernels like
        this one. Raises `InvalidInput`."""


def engine(name: str) -> Engine:
    """The engine of that name; raises `InvalidInput` for a name that is none."""
    if name in ("autoscheduler", "both"):
        # Imported here: a process that only names engines, or fits the cost model, needs no TVM.
        from tunefarm_coordinator.engines.search import Autoscheduler
        from tunefarm_coordinator.engines.spaces import sketches, sketches_and_templates

        return Autoscheduler(space=sketches if name == "autoscheduler" else sketches_and_templates)
    if name == "autotvm":
        from tunefarm_coordinator.engines.autotvm.tuner import AutoTVM

        return AutoTVM()
    raise InvalidInput(f'there is no tuner "{name}"; choose "autoscheduler", "autotvm" or "both"')


def template_name(task_module: str, target: str) -> str | None:
    """Name of the template that the engine "autotvm" has for a task (IRModule as JSON) on a target (JSON); None
    for a kernel without one. Raises `InvalidInput` for what can't be read."""
    from tunefarm_coordinator.engines.autotvm.tuner import template_of

    return template_of(task_module, target)
