"""What the model pipeline hands to search: tuning tasks. No TVM here, so that every process may read it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TuningTask:
    """One tuning task of a prepared model.

    Attributes:
        workload: identity across jobs: preparation-pipeline version and structural hash of the IR.
        name: readable name, unique within the model (the fused operators).
        weight: how often the model calls this kernel.
        module: the unscheduled TIR IRModule (one function, `main`) as `tvm.ir.save_json` text.
        flops: estimated floating-point operations of one call; 0 where unknown.
        nodes: ONNX nodes that its calls compute, by their names in the file (an unnamed one's first output), in the
            model's order; empty where unknown.
        kind: of one kind are kernels of the same fused operators, types and ranks; only their sizes differ.
        shapes: of inputs and outputs, in the order of the kernel's arguments.
    """

    workload: str
    name: str
    weight: int
    module: str
    flops: float
    nodes: tuple[str, ...] = ()
    kind: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()
