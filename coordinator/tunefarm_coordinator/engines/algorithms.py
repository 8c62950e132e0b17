"""Several algorithms for one kernel: what there is, which is estimated to be faster, and a space that draws on both."""

import random
from dataclasses import dataclass
from functools import cached_property

from tvm import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tunefarm_coordinator.engines import programs
from tunefarm_coordinator.engines.mathematics.lowering import EXACT
from tunefarm_coordinator.engines.register_tiles import Vectors, vectors_of
from tunefarm_coordinator.engines.space import Draft, Space, schedule_identity
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.engines.uneven_tiles import Shape
from tunefarm_coordinator.engines.winograd import convolution as convolutions
from tunefarm_coordinator.engines.winograd import settings as winograd
from tunefarm_coordinator.engines.winograd.settings import Settings

# Another algorithm is the default schedule's where it is estimated to take so much of the direct sum's time.
_PAYS = 0.9
# Where it is estimated to take more of it than that, it is left out.
_LEFT_OUT = 1.5
# Of the schedules that are drawn so many are of the algorithm that is thought to be the faster one.
_SHARE_OF_FASTER = 0.75
# Of so many settings drawn together the one that is estimated to be the fastest is taken.
_DRAWN_TOGETHER = 4


@dataclass(frozen=True)
class Offer:
    """What minimal filtering has for a kernel. `direct`: estimated cycles of the direct sum."""

    convolution: convolutions.Convolution
    vectors: Vectors
    threads: int
    direct: float

    @cached_property
    def options(self) -> list[Settings]:
        """All settings, those first that are estimated to be the fastest."""
        return sorted(winograd.options(self.convolution, self.vectors), key=self.cycles)

    @property
    def ratio(self) -> float:
        """Estimated time of the best settings over that of the direct sum."""
        return self.cycles(self.options[0]) / self.direct

    @property
    def pays(self) -> bool:
        """Whether the best settings are estimated to be faster than the direct sum."""
        return self.ratio < _PAYS

    def cycles(self, settings: Settings) -> float:
        """Estimated cycles of one call."""
        return winograd.cycles(self.convolution, settings, self.vectors, self.threads)


def offer_for(module: IRModule, target: Target) -> Offer | None:
    """What there is for a kernel (an unscheduled module) on a target; None where the direct sum is all there is, or is
    asked for (`--exact-math`)."""
    if target.kind.name != "llvm" or module["main"].attrs.get(EXACT):
        return None
    found = programs.convolution_of(module)
    if found is None:
        return None
    threads, vectors = int(target.attrs.get("num-cores", 1)), vectors_of(str(target))
    direct = winograd.direct_cycles(_shape(found, threads), vectors)
    offer = Offer(found, vectors, threads, direct)
    return offer if offer.options and offer.ratio < _LEFT_OUT else None


def _shape(convolution: convolutions.Convolution, threads: int) -> Shape:
    """Sizes of the direct sum, a row of the image being a matrix of outputs."""
    return Shape(
        rows=convolution.width,
        lanes=convolution.filters,
        steps=9 * convolution.inputs,
        batches=convolution.images * convolution.height,
        threads=threads,
    )


def best_program(module: IRModule, target: Target) -> Schedule | None:
    """The schedule of the program that is estimated to be faster than the direct sum; None where that is."""
    offer = offer_for(module, target)
    if offer is None or not offer.pays:
        return None
    try:
        return programs.winograd(module, offer.options[0])
    except TVM_ERRORS:  # an epilogue that can't go by tiles
        return None


class Alternatives:
    """The space of a kernel that several algorithms compute; see `search.Space`. Not thread-safe."""

    def __init__(self, direct: Space, offer: Offer, rng: random.Random) -> None:
        """`direct`: the space of the direct sum."""
        self._direct, self._offer, self._rng = direct, offer, rng
        self.module: IRModule = direct.module
        self.context: ms.TuneContext = direct.context
        self.screens = False
        # The default schedule is of the algorithm that is thought to be faster: the first trial is of the other.
        self.first: Draft | None = direct.first if offer.pays else self._program(offer.options[0])

    def sample(self) -> Draft | None:
        """A schedule of either algorithm with random decisions; None where the decisions drawn make no valid one."""
        is_faster = self._rng.random() < _SHARE_OF_FASTER
        if is_faster != self._offer.pays:
            return self._direct.sample()
        return self._promising(self._offer.options)

    def mutate(self, trace: Trace) -> Draft | None:
        """A schedule of the same algorithm with a decision of `trace` changed; None where that makes no valid one."""
        settings = programs.winograd_settings(trace)
        if settings is None:
            return self._direct.mutate(trace)
        differing = {each: winograd.differences(each, settings) for each in self._offer.options}
        return self._promising([each for each, count in differing.items() if 1 <= count <= 2])

    def replay(self, trace: Trace) -> Draft | None:
        """The schedule of a recorded trace as its algorithm's space finishes it; None where it has none."""
        settings = programs.winograd_settings(trace)
        if settings is not None:
            return self._program(settings)
        return self._direct.replay(trace)

    def _promising(self, options: list[Settings]) -> Draft | None:
        if not options:
            return None
        return self._program(min(self._rng.choices(options, k=_DRAWN_TOGETHER), key=self._offer.cycles))

    def _program(self, settings: Settings) -> Draft | None:
        try:
            schedule = programs.winograd(self.module, settings)
        except (ValueError, *TVM_ERRORS):  # recorded of another kernel, or by another version
            return None
        schedule.enter_postproc()
        return Draft(schedule_identity(self.module, schedule.mod), schedule, self._offer.cycles(settings))
