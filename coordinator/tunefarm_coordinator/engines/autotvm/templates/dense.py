"""Matrix product with one matrix of weights; leading axes are rows like any other."""

from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.autotvm.tiling import Form, tile_product


@template(("x86", "arm_cpu"), "dense")
def dense(job: Job) -> None:
    """Lanes are columns."""
    rank = len(nests.extents(job.schedule, job.kernel.block, IterVar.DataPar))
    tile_product(job, Form(rows=tuple(range(rank - 1)), lanes=(rank - 1,)))
