"""The compiled model of an NVIDIA GPU: kernels built one by one, and launched together as CUDA graphs.

At batch 1 the gaps between launches rule: a graph launches hundreds of kernels at once. What reads the model's inputs
or writes its outputs, whose addresses change, stays outside of it. A second entry runs the same kernels one by one,
for whoever wants to time each inside the model.
"""

from typing import Any

import tvm
from tvm import relax
from tvm.relax.backend.cuda import pipeline
from tvm.target import Target

from tunefarm_coordinator.engines.build import build_kernels

ENTRY = "main"
# As ENTRY, without graphs.
ENTRY_BY_KERNEL = "main_by_kernel"
_GRAPHS = {"relax.backend.use_cuda_graph": True}


def build_for_gpu(module: Any, target: Target) -> Any:
    """The executable of a scheduled module: as `relax.build` makes it, but for the kernels, most of which were compiled
    as candidates. Raises as TVM does, and BuildError: no compiler."""
    with target:
        planned = _sequence(
            *pipeline.library_dispatch_passes(target),
            *pipeline.legalize_passes(target),
            *pipeline.dataflow_lower_passes(target),
            relax.transform.StaticPlanBlockMemory(),
        )(module)
        with tvm.transform.PassContext(config=_GRAPHS):
            graphs = relax.transform.RewriteCUDAGraph()(planned)
        graphs[ENTRY_BY_KERNEL] = planned[ENTRY].with_attr("global_symbol", ENTRY_BY_KERNEL)
        lowered = _sequence(*_after_graphs(target))(graphs)
    kernels = {g: f for g, f in lowered.functions.items() if isinstance(f, tvm.tirx.PrimFunc)}
    built = build_kernels(tvm.IRModule(kernels, attrs=lowered.attrs), target)
    rest = tvm.IRModule({g: f for g, f in lowered.functions.items() if g not in kernels}, attrs=lowered.attrs)
    others = list((lowered.attrs or {}).get("external_mods", []))
    return relax.build(rest.with_attr("external_mods", [built, *others]), target=target, relax_pipeline=None)


def _after_graphs(target: Target) -> list[Any]:
    """What TVM's own pipeline does once memory is planned and graphs are cut."""
    passes: list[Any] = pipeline.finalize_passes(target)
    names = [str(each.info.name) for each in passes]
    return passes[names.index("RewriteCUDAGraph") + 1 :]


def _sequence(*passes: Any) -> Any:
    return tvm.ir.transform.Sequential(list(passes))
