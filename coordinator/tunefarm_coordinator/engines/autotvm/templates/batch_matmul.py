"""Products of many pairs of matrices: batches in parallel, tiles of each as in one product."""

from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.autotvm.registry import Job, template
from tunefarm_coordinator.engines.autotvm.tiling import Form, tile_product


@template(("x86", "arm_cpu"), "batch_matmul")
def batch_matmul(job: Job) -> None:
    """Lanes are columns."""
    rank = len(nests.extents(job.schedule, job.kernel.block, IterVar.DataPar))
    tile_product(job, Form(rows=(rank - 2,), lanes=(rank - 1,)))
