"""Two spaces of one task as one: what the tuner "both" draws from."""

import random

from tvm import IRModule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Trace

from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.engines.space import DesignSpace, Draft


class Joined:
    """Generated schedules and those of a template, in turn by lot; see `search.Space`. Not thread-safe.

    What one found the other goes on from: a generated schedule's changes are changes of sizes, whoever chose them, and
    a template takes the decisions of a trace that are its own, else its defaults.
    """

    def __init__(self, generated: DesignSpace, templated: TemplateSpace, rng: random.Random) -> None:
        self._generated, self._templated, self._rng = generated, templated, rng
        self.module: IRModule = generated.module
        self.context: ms.TuneContext = generated.context
        self.first: Draft | None = templated.first
        self.screens = False

    def sample(self) -> Draft | None:
        """A schedule of either with random decisions; None where the decisions drawn make no valid one."""
        return self._either().sample()

    def mutate(self, trace: Trace) -> Draft | None:
        """A schedule with a decision of `trace` changed, by either; None where that makes no valid one."""
        return self._either().mutate(trace)

    def replay(self, trace: Trace) -> Draft | None:
        """The schedule of a recorded trace, finished as generated ones are; None where it has none."""
        return self._generated.replay(trace)

    def _either(self) -> DesignSpace | TemplateSpace:
        return self._generated if self._rng.random() < 0.5 else self._templated
