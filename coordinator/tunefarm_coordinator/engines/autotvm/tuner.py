"""The engine "autotvm": the search of `engines.search` over a template's knobs."""

import random
from collections.abc import Collection, Sequence

from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.engines.candidate import Neighbour
from tunefarm_coordinator.engines.engine import TaskRecord
from tunefarm_coordinator.engines.search import SearchOptions, TaskSearch, load
from tunefarm_coordinator.engines.spaces import templates
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.errors import InvalidInput


class AutoTVM:
    """The engine "autotvm". A task without a template can't be opened (`template_of` tells)."""

    def __init__(self, options: SearchOptions | None = None) -> None:
        self._options = options or SearchOptions()

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
    ) -> TaskSearch:
        """See `engine.Engine.open`."""
        return TaskSearch(
            workload,
            task_module,
            target,
            seed,
            self._options,
            records,
            forbidden,
            seeds,
            random_trials,
            templates,
            neighbours,
        )


def template_of(task_module: str, target: str) -> str | None:
    """See `engine.template_name`. A template that can't schedule the task is none for it."""
    module, parsed = load(task_module, target)
    try:
        return TemplateSpace(module, parsed, random.Random(0)).name
    except (InvalidInput, *TVM_ERRORS):
        return None
