"""The design space of one task: what a search draws from, and sketches that MetaSchedule generates, sampled and mutated
into schedules."""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import tvm_ffi
from tvm import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule import _ffi_api
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tunefarm_coordinator.engines import intrinsics
from tunefarm_coordinator.engines.thread_blocks import TileSampler, may_fit, shared_bytes
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line
from tunefarm_coordinator.errors import InvalidInput, NoDesignSpace

_LARGEST_SEED = 2**31 - 1
_NAMED_RULE = re.compile(r'"schedule_rule": "([\w.]+)"')
_CPU_RULES = "s_tir.meta_schedule.cpu."


@dataclass(frozen=True)
class Draft:
    """A finished schedule of the task, not yet chosen. `identity` as in `Proposal`; `estimate`: how long it is
    thought to take, in a unit of whoever made it."""

    identity: str
    schedule: Schedule
    estimate: float | None = None

    @property
    def trace(self) -> Trace:
        """The schedule's trace, postprocessing included."""
        return self.schedule.trace


def schedule_identity(module: IRModule, scheduled: IRModule) -> str:
    """The digest that names a schedule: of the task's and the scheduled module's structural hashes.

    Structural hashes ignore variable names and are the same in every process, so two traces that end in
    the same program are one candidate.
    """
    text = f"{tvm_ffi.structural_hash(module):016x}:{tvm_ffi.structural_hash(scheduled):016x}"
    return hashlib.sha256(text.encode()).hexdigest()


class Space(Protocol):
    """What a search draws from.

    Attributes:
        module: the task's unscheduled module.
        context: what features are extracted with.
        first: the schedule to begin with where there is one that was written with care.
        screens: whether each draft is the most promising of several already.
    """

    module: IRModule
    context: ms.TuneContext
    first: Draft | None
    screens: bool

    def sample(self) -> Draft | None:
        """A schedule with random decisions; None where the decisions drawn make no valid one."""

    def mutate(self, trace: Trace) -> Draft | None:
        """A schedule with a decision of `trace` changed; None where that makes no valid one."""

    def replay(self, trace: Trace) -> Draft | None:
        """The schedule of a recorded trace as this space finishes it; None where it has none."""


class DesignSpace:
    """Random and mutated schedules of one task, postprocessed (parallel, vectorise, unroll, layouts).

    Not thread-safe. The same seed gives the same sequence of drafts.
    """

    def __init__(self, module: IRModule, target: Target, rng: random.Random) -> None:
        """Generates the sketches; raises `NoDesignSpace` where MetaSchedule has none for this task."""
        _check_target(target)
        intrinsics.enter_lazy_package()
        self.module = module
        self.first: Draft | None = None
        self.screens = False
        self._rng = rng
        try:
            with target:
                space = ms.space_generator.PostOrderApply(None, *_rules(module, target))
                self.context = ms.TuneContext(
                    module, target=target, space_generator=space, rand_state=self._seed(), num_threads=1
                )
                sketches = self.context.generate_design_space()
        except TVM_ERRORS as error:
            raise NoDesignSpace(f"no design space could be generated for this task: {first_line(error)}") from error
        self._sketches = [TileSampler(sketch.trace.simplified(True)) for sketch in sketches]
        limit = target.attrs.get("max_shared_memory_per_block")
        self._shared_bytes = None if limit is None else int(limit)
        self._postprocs = list(space.postprocs)
        self._mutators = list(space.mutator_probs.keys())
        self._mutator_weights = [float(weight.value) for weight in space.mutator_probs.values()]

    def sample(self) -> Draft | None:
        """A schedule with random decisions; None where the decisions drawn make no valid one."""
        sketch = self._rng.choice(self._sketches)
        return self._apply(Trace(sketch.instructions, sketch.decisions(self._rng)))

    def mutate(self, trace: Trace) -> Draft | None:
        """A schedule with one decision of `trace` changed; None where that makes no valid one."""
        if not self._mutators:
            return None
        mutator = self._rng.choices(self._mutators, self._mutator_weights)[0]
        mutated = _ffi_api.MutatorApply(mutator, trace, self._seed())
        return None if mutated is None or not may_fit(mutated) else self._apply(mutated)

    def replay(self, trace: Trace) -> Draft | None:
        """The schedule of a recorded trace; its postprocessing is redone, not replayed."""
        return self._apply(trace)

    def _apply(self, trace: Trace) -> Draft | None:
        schedule = Schedule(self.module, seed=self._seed(), debug_mask="none", error_render_level="none")
        try:
            trace.apply_to_schedule(schedule, remove_postproc=True)
            if self._shared_bytes is not None and shared_bytes(schedule) > self._shared_bytes:
                return None
            schedule.enter_postproc()
            if not all(postproc.apply(schedule) for postproc in self._postprocs):
                return None
        except TVM_ERRORS:  # the decisions don't fit together: a part of every generated space
            return None
        return Draft(schedule_identity(self.module, schedule.mod), schedule)

    def _seed(self) -> int:
        return self._rng.randint(1, _LARGEST_SEED)


def _check_target(target: Target) -> None:
    if target.kind.name == "llvm" and "num-cores" not in target.attrs:
        raise InvalidInput('the target has no "num-cores": give the number of cores that kernels may use')


def _rules(module: IRModule, target: Target) -> Sequence[Any]:
    """Schedule rules, postprocessors and mutators: the target's own where intrinsics can match, else the
    same without tensorization, which needs no intrinsic to be registered."""
    if intrinsics.usable(module, target):
        intrinsics.load(target)
        return "from-target", "from-target", "from-target"
    if target.kind.name == "cuda":
        return "cuda", "cuda", "cuda"
    if target.kind.name != "llvm":
        return "from-target", "from-target", "from-target"
    if intrinsics.family(target) == "arm_cpu":
        rules = _ffi_api.ScheduleRuleDefaultARM("without intrinsics")
    else:
        rules = _ffi_api.ScheduleRuleDefaultLLVM()
    return [rule for rule in rules if not _only_warns(rule, module)], "llvm", "llvm"


def _only_warns(rule: ms.ScheduleRule, module: IRModule) -> bool:
    """Whether `rule` is the one that looks up rules named by blocks, and TVM has none of those for a CPU
    (pooling names one that exists for CUDA only): it would print a warning for each and do nothing."""
    if not isinstance(rule, ms.schedule_rule.ApplyCustomRule):
        return False
    named = set(_NAMED_RULE.findall(module.script()))
    return not any(tvm_ffi.get_global_func(_CPU_RULES + name, allow_missing=True) for name in named)
