"""1x1 convolution: a matrix product of pixels and channels."""

from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.autotvm.tiling import Form, tile_product


@template(("x86", "arm_cpu"), "conv2d_1x1_nhwc")
def channels_last(job: Job) -> None:
    """Lanes are filters, rows pixels."""
    tile_product(job, Form(rows=(1, 2), lanes=(3,), reductions=((0, 1, 2),), split_reduction=2))


@template(("x86", "arm_cpu"), "conv2d_1x1_nchw")
def channels_first(job: Job) -> None:
    """Lanes are pixels and rows filters, or the other way round with the weights laid out for it."""
    tile_product(job, Form(rows=(1, 2, 3), lanes=(3, 1), reductions=((0, 1, 2),), split_reduction=0))
