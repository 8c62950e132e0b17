"""Grouped convolution: filters of a group share its channels."""

from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.autotvm.tiling import Form, tile_product


@template(("x86", "arm_cpu"), "grouped_conv2d_nhwc")
def channels_last(job: Job) -> None:
    """Lanes are filters of a group, rows pixels."""
    tile_product(job, Form(rows=(1, 2), lanes=(4,), reductions=((0, 1, 2), (2, 0, 1)), split_reduction=2))


@template(("x86", "arm_cpu"), "grouped_conv2d_nchw")
def channels_first(job: Job) -> None:
    """Lanes are pixels and rows filters of a group, or the other way round with the weights laid out for it."""
    tile_product(job, Form(rows=(1, 2, 3), lanes=(3, 1), reductions=((0, 1, 2), (1, 2, 0)), split_reduction=0))
