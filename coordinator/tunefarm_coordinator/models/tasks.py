"""Tuning tasks of a prepared Relax module: which kernels are worth trials, and who they are across jobs."""

import re
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm.s_tir.analysis import estimate_tir_flops
from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.models.loops import called_kernels
from tunefarm_coordinator.models.provenance import NOT_KNOWN, Origins
from tunefarm_coordinator.models.task import TuningTask

# Version of everything that decides what the kernels of a model are: passes, their order, their options.
# A workload is a workload of one version; change what `prepare` does and this changes with it.
PIPELINE_VERSION = "5"

# Below this a kernel is done in the time that it takes to start one: trials can't make it faster.
MIN_FLOPS = 20_000.0

_NAME_LENGTH = 48


@dataclass(frozen=True)
class Kernel:
    """A kernel of the module. `calls` counts the calls in a run of `main`; `module` is its normalised IRModule; `nodes`
    are the ONNX nodes that it computes, in all of its calls."""

    workload: str
    function: str
    name: str
    calls: int
    flops: float
    module: Any
    reduces: bool
    nodes: tuple[str, ...] = ()

    @property
    def worth_tuning(self) -> bool:
        """Whether trials are spent on it.

        Left out are kernels without a reduction and those below `MIN_FLOPS`. The former (copies, transposes,
        concatenations, element-wise chains) read and write memory once: parallel, vectorised loops in the
        output's order are all that the search space has for them, and that is the default schedule.
        """
        return self.reduces and self.flops >= MIN_FLOPS


def normalized(function: Any) -> Any:
    """The one-function module (`main`) that stands for a kernel in tasks and in MetaSchedule databases."""
    return _normalize_mod(function)


def workload_of(module: Any) -> str:
    """Identity of a normalised kernel module: pipeline version and structural hash, the same in any process.

    Raises nothing; the hash ignores names of variables and buffers, as MetaSchedule's own lookup does.
    """
    return f"{PIPELINE_VERSION}-{tvm_ffi.structural_hash(module) & (2**64 - 1):016x}"


def kernels_of(mod: Any, origins: Origins = NOT_KNOWN) -> list[Kernel]:
    """Kernels of a prepared module in the order of their first call, each workload once."""
    calls: dict[str, int] = {}
    modules: dict[str, tuple[str, Any]] = {}
    order: dict[str, str] = {}
    for gvar in called_kernels(mod):
        name = str(gvar.name_hint)
        if name not in order:
            module = normalized(mod[gvar])
            order[name] = workload_of(module)
            modules.setdefault(order[name], (name, module))
        workload = order[name]
        calls[workload] = calls.get(workload, 0) + 1
    taken: set[str] = set()
    kernels = []
    for workload, (function, module) in modules.items():
        name = _readable(function, module, taken)
        flops = float(estimate_tir_flops(module))
        nodes = origins.of(name for name, its in order.items() if its == workload)
        kernels.append(Kernel(workload, function, name, calls[workload], flops, module, _has_reduction(module), nodes))
    return kernels


def tasks_of(kernels: list[Kernel]) -> list[TuningTask]:
    """Tuning tasks, most work first."""
    tasks = [
        TuningTask(
            k.workload,
            k.name,
            k.calls,
            str(tvm.ir.save_json(k.module)),
            k.flops,
            k.nodes,
            kind_of(k.function, k.module),
            shapes_of(k.module),
        )
        for k in kernels
        if k.worth_tuning
    ]
    return sorted(tasks, key=lambda task: -task.flops * task.weight)


def _has_reduction(module: Any) -> bool:
    """Whether one of its blocks reduces; False for a kernel that comes scheduled, or can't be (sorting)."""
    if module["main"].attrs.get("tirx.is_scheduled"):
        return False
    try:
        schedule = tvm.s_tir.Schedule(module)
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    except TVM_ERRORS:
        return False
    return any(
        axis.iter_type == tvm.tirx.IterVar.CommReduce and int(axis.dom.extent) > 1
        for block in blocks
        for axis in schedule.get(block).iter_vars
    )


def _readable(function: str, module: Any, taken: set[str]) -> str:
    """`readable_name`, with a number where it is taken."""
    name = base = readable_name(function, module)
    count = 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def readable_name(function: str, module: Any) -> str:
    """`conv2d_add_relu_1x55x55x64`: fused operators without the compiler's numbers, then the output's sizes."""
    name = _operators(function)
    if len(name) > _NAME_LENGTH:
        name = f"{name[:_NAME_LENGTH].rsplit('_', 1)[0]}_etc"
    sizes = "x".join(str(int(size)) for size in module["main"].params[-1].shape)
    return f"{name}_{sizes}" if sizes else name


def _operators(function: str) -> str:
    """The fused operators, without the compiler's numbers."""
    return re.sub(r"(?<=[a-z])\d+(?=_|$)", "", function.removeprefix("fused_").replace("tir_", ""))


def kind_of(function: str, module: Any) -> str:
    """See `TuningTask.kind`: `conv2d_add_relu float32:4 float32:4 float32:1 float32:4`."""
    arguments = [f"{argument.dtype}:{len(argument.shape)}" for argument in module["main"].params]
    return " ".join([_operators(function), *arguments])


def shapes_of(module: Any) -> tuple[tuple[int, ...], ...]:
    """Of the kernel's arguments. Raises what TVM raises where one is not a number."""
    return tuple(tuple(int(size) for size in argument.shape) for argument in module["main"].params)
