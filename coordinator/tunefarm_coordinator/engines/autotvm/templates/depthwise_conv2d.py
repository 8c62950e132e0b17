"""Depthwise convolution: a window for each channel, so that loads and not products decide."""

from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.autotvm.tiling import Form, tile_product


@template(("x86", "arm_cpu"), "depthwise_conv2d_nhwc")
def channels_last(job: Job) -> None:
    """Lanes are channels, rows pixels, whose windows overlap."""
    tile_product(job, Form(rows=(1, 2), lanes=(3,), reductions=((0, 1, 2), (1, 0, 2)), split_reduction=None))


@template(("x86", "arm_cpu"), "depthwise_conv2d_nchw")
def channels_first(job: Job) -> None:
    """Lanes are pixels of a row, rows those below."""
    tile_product(job, Form(rows=(2,), lanes=(3,), reductions=((0, 1, 2), (0, 2, 1)), split_reduction=None))
