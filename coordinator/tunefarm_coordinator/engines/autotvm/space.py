"""The space of one task under a template: every setting of its knobs."""

import random

from tvm import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tunefarm_coordinator.engines import intrinsics, prepack
from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.autotvm import registry
from tunefarm_coordinator.engines.autotvm.dots import dot_product
from tunefarm_coordinator.engines.autotvm.knobs import Changed, Chooser, Decision, Drawn, Knobs, Recorded, decisions_of
from tunefarm_coordinator.engines.autotvm.operators import Kernel, recognised
from tunefarm_coordinator.engines.register_tiles import vectors_of
from tunefarm_coordinator.engines.space import Draft, schedule_identity
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.errors import InvalidInput

_LARGEST_SEED = 2**31 - 1


class TemplateSpace:
    """Random and changed schedules of one task, made by its template; see `search.Space`.

    Not thread-safe. The same seed gives the same sequence of drafts.
    """

    def __init__(self, module: IRModule, target: Target, rng: random.Random) -> None:
        """Raises `InvalidInput` where no template fits the task."""
        intrinsics.enter_lazy_package()
        self.module = module
        self._rng = rng
        self._target = target
        self._vectors = vectors_of(str(target))
        self._memory: dict[str, object] = {}
        plain = Schedule(module, debug_mask="none", error_render_level="none")
        self._inlined = nests.inline_spatial(plain)
        kernel, self._template = _template(plain, self._inlined, target)
        self.name = f"{kernel.operator}.{intrinsics.family(target)}"
        self._kernel = kernel
        self.context = ms.TuneContext(module, target=target, rand_state=rng.randint(1, _LARGEST_SEED), num_threads=1)
        try:
            self.first: Draft | None = self._finish(self._make(Chooser()))
        except TVM_ERRORS as error:
            raise InvalidInput(f"the template {self.name} does not fit this task") from error
        self.screens = self.first is not None and self.first.estimate is not None

    def sample(self) -> Draft | None:
        """A schedule with all knobs drawn at random; None where they don't fit together."""
        return self._draft(Drawn(self._rng))

    def mutate(self, trace: Trace) -> Draft | None:
        """A schedule with one or two knobs of `trace` changed; of the defaults where the trace is not of this
        template."""
        return self._draft(Changed(self._decisions(trace), self._rng))

    def replay(self, trace: Trace) -> Draft | None:
        """The template's schedule with the decisions of a trace; the defaults where the trace has other ones."""
        return self._draft(Recorded(self._decisions(trace)))

    def _draft(self, chooser: Chooser) -> Draft | None:
        try:
            return self._finish(self._make(chooser))
        except TVM_ERRORS:  # knobs that don't fit together
            return None

    def _make(self, chooser: Chooser) -> registry.Job:
        """A schedule, and what the template says of it."""
        schedule = self._inlined.copy()
        knobs = Knobs(schedule, chooser)
        job = registry.Job(schedule, self._kernel, knobs, self._target, self._vectors, self._memory)
        self._template(job)
        # What follows them in a trace are sizes of loops that no knob decides.
        self._knobs = knobs.count
        return job

    def _decisions(self, trace: Trace) -> list[Decision]:
        return decisions_of(trace)[: self._knobs]

    def _finish(self, job: registry.Job) -> Draft:
        """With free weights in the order in which a CPU's schedule reads them; a GPU's reads them as they lie."""
        schedule = job.schedule
        if job.laid_out or self._target.kind.name == "cuda":
            schedule.enter_postproc()
            return Draft(schedule_identity(self.module, schedule.mod), schedule, job.estimate)
        schedule = prepack.laid_out(schedule)
        return Draft(schedule_identity(self.module, schedule.mod), schedule)


def _template(plain: Schedule, inlined: Schedule, target: Target) -> tuple[Kernel, registry.Template]:
    kernel = dot_product(inlined, str(target)) or recognised(plain)
    if kernel is None:
        raise InvalidInput("there is no template for this kernel: it is no convolution or matrix product")
    found = registry.find(kernel.operator, intrinsics.family(target))
    if found is None:
        raise InvalidInput(f"there is no template for {kernel.operator} on this target")
    return kernel, found
