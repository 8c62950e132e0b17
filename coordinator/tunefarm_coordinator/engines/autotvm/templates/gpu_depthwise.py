"""Depthwise and grouped convolutions on NVIDIA GPUs: a few pixels of a row and a few channels for each thread
(`engines.gpu.depthwise`). The defaults of the knobs are the tile that is estimated to be the fastest."""

from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.gpu.contraction import NoContraction
from tunefarm_coordinator.engines.gpu.depthwise import WindowTile, schedule_windows, window_options, windows_of
from tunefarm_coordinator.engines.gpu.limits import limits_of


@template(("cuda",), "depthwise_conv2d_nhwc", "depthwise_conv2d_nchw", "grouped_conv2d_nchw")
def windows(job: Job) -> None:
    """A tile for each thread, drawn among those that fit."""
    block = job.schedule.get_sblock(job.kernel.block)
    sizes = windows_of(job.schedule, block, job.kernel.operator.endswith("nhwc"))
    fields, seconds = window_options(sizes, limits_of(job.target))
    if not seconds:
        raise NoContraction("no tile fits")
    values = job.knobs.pick(fields, seconds, min(seconds, key=seconds.__getitem__))
    job.estimate = seconds[values]
    schedule_windows(job.schedule, block, sizes, WindowTile(*values))
