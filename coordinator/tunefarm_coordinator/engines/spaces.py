"""Which space a tuner draws a task's schedules from."""

import random

from tvm import IRModule
from tvm.s_tir import Schedule
from tvm.target import Target

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines import uneven_tiles
from tunefarm_coordinator.engines.algorithms import Alternatives, offer_for
from tunefarm_coordinator.engines.autotvm.dots import dot_product
from tunefarm_coordinator.engines.autotvm.operators import recognised
from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.engines.joined import Joined
from tunefarm_coordinator.engines.register_tiles import vectors_of
from tunefarm_coordinator.engines.space import DesignSpace, Space
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.errors import InvalidInput


def sketches(module: IRModule, target: Target, rng: random.Random) -> Space:
    """The generated schedules of a task, and those of other algorithms for it. Raises InvalidInput."""
    return _with_alternatives(_direct(module, target, rng), target, rng)


def templates(module: IRModule, target: Target, rng: random.Random) -> Space:
    """The schedules of a task's template, and those of other algorithms for it. Raises InvalidInput."""
    return _with_alternatives(TemplateSpace(module, target, rng), target, rng)


def sketches_and_templates(module: IRModule, target: Target, rng: random.Random) -> Space:
    """Both of the above; of a task without a template the generated schedules alone. Raises InvalidInput."""
    return _with_alternatives(_joined(module, target, rng), target, rng)


def _joined(module: IRModule, target: Target, rng: random.Random) -> Space:
    generated = _direct(module, target, rng)
    if isinstance(generated, TemplateSpace):
        return generated
    try:
        return Joined(generated, TemplateSpace(module, target, rng), rng)
    except (InvalidInput, *TVM_ERRORS):  # a template that can't schedule the task is none for it
        return generated


def _with_alternatives(space: Space, target: Target, rng: random.Random) -> Space:
    offer = offer_for(space.module, target)
    return space if offer is None else Alternatives(space, offer, rng)


def _direct(module: IRModule, target: Target, rng: random.Random) -> DesignSpace | TemplateSpace:
    """MetaSchedule's generated space; on NVIDIA GPUs, for products and convolutions, the sketch of `engines.gpu` in its
    place: generated ones have no split sums and no copies ahead, and most of their random decisions make no schedule
    that fits the device. On CPUs, templates for products of bytes, and for sizes that no good tile divides: generated
    schedules have no others. Raises InvalidInput."""
    if target.kind.name == "cuda" or _multiplies_bytes(module, target) or _divides_badly(module, target):
        try:
            return TemplateSpace(module, target, rng)
        except InvalidInput:  # no product, or one of sizes that no tile fits
            pass
    return DesignSpace(module, target, rng)


def _multiplies_bytes(module: IRModule, target: Target) -> bool:
    schedule = Schedule(module, debug_mask="none", error_render_level="none")
    return dot_product(nests.inline_spatial(schedule), str(target)) is not None


def _divides_badly(module: IRModule, target: Target) -> bool:
    schedule = nests.inline_spatial(Schedule(module, debug_mask="none", error_render_level="none"))
    kernel = recognised(schedule)
    if kernel is None or target.kind.name != "llvm":
        return False
    return uneven_tiles.preferred(schedule, kernel.block, vectors_of(str(target)), target) is not None
