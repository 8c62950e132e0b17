"""Transposed convolution: TOPI spreads the image out by the stride and convolves that, so most products are with zero.

With the spreading computed at each read and window and rows unrolled, TVM sees which reads those are and drops them.
"""

from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.autotvm.tiling import Form, tile_product


@template(("x86", "arm_cpu"), "conv2d_transpose_nchw")
def channels_first(job: Job) -> None:
    """Lanes are pixels and rows filters, or the other way round with the weights laid out for it."""
    tile_product(job, Form(rows=(1, 2, 3), lanes=(3, 1), reductions=((0, 1, 2), (1, 2, 0)), split_reduction=0))
