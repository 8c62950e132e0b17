"""Convolutions and matrix products of 8-bit integers, on CPUs with an instruction for four products a lane."""

from tunefarm_coordinator.engines.autotvm.dots import OPERATOR, fitting, schedule_dots
from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.dot_products import dots_of


@template(("x86", "arm_cpu"), OPERATOR)
def int8_product(job: Job) -> None:
    """Lanes are filters or columns, rows pixels or rows."""
    dots = dots_of(str(job.target))
    product = None if dots is None else fitting(job.schedule, job.kernel.block, dots)
    if dots is None or product is None:
        raise ValueError("no product of 8-bit integers")
    schedule_dots(job, dots, product)
    job.laid_out = True
