"""Convolutions and products of matrices on NVIDIA GPUs: one tiled product (`engines.gpu`), on tensor cores where the
operands are float16, bfloat16 or, in kernels marked for it, float32 (as TF32). The defaults of its knobs are the tile
that is estimated to be the fastest."""

from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.gpu.contraction import Contraction, NoContraction, normalised
from tunefarm_coordinator.engines.gpu.limits import limits_of
from tunefarm_coordinator.engines.gpu.options import tile_options
from tunefarm_coordinator.engines.gpu.simt import SimtTile, schedule_simt
from tunefarm_coordinator.engines.gpu.tensor_core import schedule_fragments

_CONVOLUTIONS = ("conv2d", "conv2d_1x1", "conv2d_3x3")


@template(
    ("cuda",), *(f"{name}_{layout}" for name in _CONVOLUTIONS for layout in ("nhwc", "nchw")), "dense", "batch_matmul"
)
def product(job: Job) -> None:
    """A tile of the output for each block, drawn among those that fit."""
    options = tile_options(_sizes(job), limits_of(job.target))
    if options is None:
        raise NoContraction("no tile fits")
    values = job.knobs.pick(options.fields, options.seconds, options.best)
    job.estimate, tile = options.seconds[values], options.tile(values)
    block = job.schedule.get_sblock(job.kernel.block)
    if isinstance(tile, SimtTile):
        schedule_simt(job.schedule, block, tile)
    else:
        schedule_fragments(job.schedule, block, tile)


def _sizes(job: Job) -> Contraction:
    """The kernel's, found out once."""
    known = job.memory.get("product")
    if not isinstance(known, Contraction):
        trial = job.schedule.copy()
        known = job.memory["product"] = normalised(trial, trial.get_sblock(job.kernel.block))
    return known
