"""Carries out the end of a job: the package, its benchmark, the check of its outputs."""

import asyncio
import json
import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

from tunefarm_coordinator.compute.messages import Package, Packaged
from tunefarm_coordinator.control.benchmarking import MANIFEST, ModelBenchmarks, latency_ms, mean_ms, read_manifest
from tunefarm_coordinator.control.manifest import described
from tunefarm_coordinator.control.measuring import MeasuringStage
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.durable_files import put_in_place
from tunefarm_coordinator.farm.messages import Deliver
from tunefarm_coordinator.farm.placement import parse_target
from tunefarm_coordinator.fault_points import FaultPoint
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.schedules.changes import AddComparison, Change
from tunefarm_coordinator.schedules.record import Measured, new_comparison


class PackagingStage:
    """One job's package, a draft until it is benchmarked and found right. It is in its place, and complete, before
    the job says SUCCEEDED; until then the package of an earlier end stays there."""

    def __init__(self, runner: JobRunner, services: Services, tuning: TuningStage, measuring: MeasuringStage) -> None:
        self._runner = runner
        self._sheet = runner.sheet
        self._services = services
        self._tuning = tuning
        self._draft = services.folders.draft(self._sheet.job_id)
        self._package = services.folders.package(self._sheet.job_id)
        self._untuned = services.folders.untuned(self._sheet.job_id)
        self._compiling_untuned = asyncio.Lock()
        self._benchmarks = ModelBenchmarks(runner, services, tuning, measuring)

    @property
    def _folder(self) -> Path:
        """Where the package lies: in its place, if the coordinator died after it was found right."""
        return self._draft if (self._draft / MANIFEST).exists() else self._package

    @property
    def _prepared(self) -> tuple[Path, ...]:
        """Folders of the prepared model, one for each shape set."""
        return tuple(wanted.out_dir for wanted in self._sheet.preparations(self._services.folders))

    # ---- package

    async def package(self, wanted: ins.Package) -> None:
        """Compiles the model with the best schedules, and once more without."""
        traces = {workload: await self._tuning.trace(workload, identity) for workload, identity in wanted.best}
        records = tuple(
            (workload, trace, self._samples(workload, identity))
            for (workload, identity), trace in zip(wanted.best, traces.values(), strict=True)
        )
        manifest = await self._manifest(wanted)
        tuned: Packaged = await self._tuning.ask(Package(self._prepared, traces, records, self._draft, manifest))
        self._services.faults.passing(FaultPoint.DURING_PACKAGING)
        seconds = tuned.seconds + await self._compile_untuned()
        await self._runner.record(ev.Packaged(seconds, wanted.number))

    async def begin(self) -> None:
        """While finalists are measured elsewhere than on this host's CPU: what is known of the package already."""
        if parse_target(self._runner.brain.target).kind != "llvm":
            await self._compile_untuned()

    async def _compile_untuned(self) -> float:
        """Compiles the model with default schedules throughout, once in a job; the seconds that it took."""
        async with self._compiling_untuned:
            # A package's manifest is written last.
            if (self._untuned / MANIFEST).exists():
                return 0.0
            untuned: Packaged = await self._tuning.ask(Package(self._prepared, {}, (), self._untuned, {}))
            return untuned.seconds

    def _samples(self, workload: str, identity: str) -> tuple[float, ...]:
        return (self._runner.brain.tasks[workload].measured[identity],)

    async def _manifest(self, wanted: ins.Package) -> dict[str, Any]:
        """What the job knows of its package; the packager adds files, inputs, outputs and versions."""
        summary = await self._tuning.summary()
        best = dict(wanted.best)
        brain = self._runner.brain
        return {
            "job_id": self._sheet.job_id,
            **(await asyncio.to_thread(described, self._sheet, summary)),
            "tuner": self._sheet.tuner,
            "trials": {"budget": brain.ledger.budget, "charged": brain.ledger.charged, "valid": brain.valid_trials},
            "notes": list(brain.notes),
            "tasks": [
                {
                    "workload": task.workload,
                    "name": task.spec.name,
                    "nodes": list(task.spec.nodes),
                    "weight": task.weight,
                    **({"weights": list(task.spec.weights)} if task.spec.weights else {}),
                    "schedule": "tuned" if task.workload in best else "default",
                    "record": best.get(task.workload),
                    "seconds": task.measured.get(best.get(task.workload, task.spec.baseline)),
                    "default_seconds": task.baseline_seconds,
                    "trials": task.charged,
                }
                for task in brain.tasks.values()
            ],
        }

    # ---- on a device

    async def time_kernels(self, wanted: ins.TimeKernels) -> None:
        """Times the packaged models' kernels, tuned and default, in turn on a device."""
        event, delivered = await self._benchmarks.kernels(wanted, self._folder, self._untuned)
        compared = () if delivered is None else self._compared(event, delivered)
        await self._runner.record(event, *compared)

    def _compared(self, event: ev.KernelsTimed, delivered: Deliver) -> tuple[Change, ...]:
        """What was timed inside the model as the store keeps it, so that its best schedules are the package's."""
        brain = self._runner.brain
        now = time.time()
        return tuple(
            AddComparison(
                new_comparison(
                    workload=timed.workload,
                    target=brain.target,
                    device_fingerprint=delivered.device.fingerprint,
                    results=in_model_results(
                        timed, brain.finals.winners[timed.workload], brain.tasks[timed.workload].spec.baseline
                    ),
                    job_id=self._sheet.job_id,
                    created=now,
                    agent_id=delivered.agent_id,
                )
            )
            for timed in event.kernels
            if timed.workload in brain.finals.winners and min((*timed.tuned, *timed.default), default=0.0) > 0
        )

    async def benchmark(self, wanted: ins.Benchmark) -> None:
        """Times tuned, untuned and ONNX Runtime in turn on a device, and checks the tuned build's outputs."""
        event = await self._benchmarks.models(wanted, self._folder, self._untuned)
        if isinstance(event, ev.Benchmarked):
            await asyncio.to_thread(self._complete_manifest, event)
            if event.matches:
                await asyncio.to_thread(_put_in_place, self._draft, self._package)
        await self._runner.record(event)

    def _complete_manifest(self, event: ev.Benchmarked) -> None:
        """Adds what was measured of the package to its manifest."""
        path = self._folder / MANIFEST
        manifest = read_manifest(self._folder)
        in_model = self._runner.brain.finals.in_model
        for task in manifest["tasks"]:
            if task["workload"] in in_model:
                tuned, default = in_model[task["workload"]]
                task["seconds_in_model"] = {"tuned": tuned, "default": default}
        manifest |= _latencies(event.timings)
        manifest["max_rel_error"] = event.max_rel_error
        manifest["device"] = event.device
        for of_set, measured in zip(manifest.get("shape_sets", []), event.sets, strict=False):
            of_set |= _latencies(measured.timings)
            of_set["max_rel_error"], of_set["device"] = measured.max_rel_error, measured.device
        manifest["benchmarked"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(manifest, indent=2) + "\n")
        put_in_place(draft, path)


def in_model_results(timed: ev.KernelTiming, winner: str, default: str) -> tuple[tuple[str, Measured], ...]:
    """The two schedules' seconds in one inference, in rounds that the default one took its median for: as `jobs.finals`
    compares them, round by round, so that whoever compares medians comes to the same end."""
    usual = median(timed.default)
    rounds = zip(timed.tuned, timed.default, strict=False)
    tuned = tuple(usual * seconds / beside for seconds, beside in rounds)
    return (winner, Measured(tuned)), (default, Measured((usual,) * len(tuned)))


def _latencies(timings: tuple[ev.ModelTiming, ...]) -> dict[str, dict[str, float | None]]:
    return {
        "latency_ms": {timing.name: latency_ms(timing.samples) for timing in timings},
        "latency_mean_ms": {timing.name: mean_ms(timing.samples) for timing in timings},
        "first_call_ms": {timing.name: timing.first * 1e3 for timing in timings if timing.first is not None},
    }


def _put_in_place(draft: Path, package: Path) -> None:
    """The draft takes the package's place. It may have done so before."""
    if draft.exists():
        shutil.rmtree(package, ignore_errors=True)
        put_in_place(draft, package)
