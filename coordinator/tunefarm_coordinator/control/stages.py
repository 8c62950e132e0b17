"""Which stage carries out what a job's brain wants."""

import asyncio

from tunefarm_coordinator.control.measuring import MeasuringStage
from tunefarm_coordinator.control.packaging import PackagingStage
from tunefarm_coordinator.control.runner import CarryOut, JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.jobs import instructions as ins


def stages(runner: JobRunner, services: Services) -> CarryOut:
    """The stages of one job."""
    tuning = TuningStage(runner, services)
    measuring = MeasuringStage(runner, services, tuning)
    packaging = PackagingStage(runner, services, tuning, measuring)

    async def carry_out(wanted: ins.Instruction) -> None:
        match wanted:
            case ins.Prepare():
                await tuning.prepare()
            case ins.Propose():
                await tuning.propose(wanted)
            case ins.Observe():
                await tuning.observe(wanted)
            case ins.Build():
                await tuning.build(wanted)
            case ins.Measure():
                await measuring.measure(wanted)
            case ins.Compare():
                await asyncio.gather(measuring.compare(wanted), packaging.begin())
            case ins.Package():
                await packaging.package(wanted)
            case ins.TimeKernels():
                await packaging.time_kernels(wanted)
            case ins.Benchmark():
                await packaging.benchmark(wanted)

    return carry_out
