"""Carries out the end of a job: the package, its benchmark, the check of its outputs."""

import asyncio
import json
import platform
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tunefarm_coordinator.compute.messages import Package, Packaged, PreparedSummary, Reference
from tunefarm_coordinator.control import leases
from tunefarm_coordinator.control.measuring import MeasuringStage
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.farm.messages import Deliver, ItemLost
from tunefarm_coordinator.farm.placement import parse_target
from tunefarm_coordinator.fault_points import FaultPoint
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.models.compare import compare_outputs
from tunefarm_proto.v1 import common_pb2, farm_pb2

# Input sets on which the tuned model must answer as ONNX Runtime does.
REFERENCE_SEEDS = (0, 1, 2)
MANIFEST = "manifest.json"
TUNED, UNTUNED, ONNXRUNTIME = "tuned", "untuned", "onnxruntime"


class PackagingStage:
    """One job's package, a draft until it is benchmarked and found right. It is in its place, and complete, before
    the job says SUCCEEDED; until then the package of an earlier end stays there."""

    def __init__(self, runner: JobRunner, services: Services, tuning: TuningStage, measuring: MeasuringStage) -> None:
        self._runner = runner
        self._sheet = runner.sheet
        self._services = services
        self._tuning = tuning
        self._measuring = measuring
        self._draft = services.folders.draft(self._sheet.job_id)
        self._package = services.folders.package(self._sheet.job_id)
        self._untuned = services.folders.untuned(self._sheet.job_id)
        self._compiling_untuned = asyncio.Lock()

    @property
    def _folder(self) -> Path:
        """Where the package lies: in its place, if the coordinator died after it was found right."""
        return self._draft if (self._draft / MANIFEST).exists() else self._package

    # ---- package

    async def package(self, wanted: ins.Package) -> None:
        """Compiles the model with the best schedules, and once more without."""
        traces = {workload: await self._tuning.trace(workload, identity) for workload, identity in wanted.best}
        records = tuple(
            (workload, trace, self._samples(workload, identity))
            for (workload, identity), trace in zip(wanted.best, traces.values(), strict=True)
        )
        folder = self._sheet.preparations(self._services.folders)[0].out_dir
        manifest = await self._manifest(wanted)
        tuned: Packaged = await self._tuning.ask(Package(folder, traces, records, self._draft, manifest))
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
            folder = self._sheet.preparations(self._services.folders)[0].out_dir
            untuned: Packaged = await self._tuning.ask(Package(folder, {}, (), self._untuned, {}))
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
            "model": self._sheet.model_name,
            "project": self._sheet.spec.project,
            "target": json.loads(summary.target),
            "tuner": self._sheet.tuner,
            "layout": summary.layout,
            "pipeline_version": summary.pipeline_version,
            "coordinator_python": platform.python_version(),
            "trials": {"budget": brain.ledger.budget, "charged": brain.ledger.charged, "valid": brain.valid_trials},
            "notes": list(brain.notes),
            "tasks": [
                {
                    "workload": task.workload,
                    "name": task.spec.name,
                    "weight": task.weight,
                    "schedule": "tuned" if task.workload in best else "default",
                    "record": best.get(task.workload),
                    "seconds": task.measured.get(best.get(task.workload, task.spec.baseline)),
                    "default_seconds": task.baseline_seconds,
                    "trials": task.charged,
                }
                for task in brain.tasks.values()
            ],
        }

    # ---- kernels inside the model

    async def time_kernels(self, wanted: ins.TimeKernels) -> None:
        """Times the packaged model's kernels, tuned and default, in turn on a device."""
        inputs, _ = await self._reference()
        specs = _specs((await self._tuning.summary()).sets[0])
        contenders = [
            await self._tvm(TUNED, self._folder, specs, time_kernels=True),
            await self._tvm(UNTUNED, self._untuned, specs, time_kernels=True),
        ]
        work = farm_pb2.BenchmarkWork(
            contenders=contenders,
            inputs=await self._put(inputs),
            input_sets=1,
            rounds=leases.KERNEL_ROUNDS,
            calls_per_round=leases.CALLS_PER_ROUND,
        )
        answer = await self._measuring.benchmark(f"k{wanted.number}", wanted, work)
        if isinstance(answer, ItemLost):
            message = f"kernels were not timed inside the model: {answer.message}"
            await self._runner.record(ev.KernelsTimed((), message))
            return
        _, report = answer
        functions = {
            TUNED: await self._functions(self._folder, wanted.workloads),
            UNTUNED: await self._functions(self._untuned, wanted.workloads),
        }
        timings = leases.kernel_timings(report, TUNED, UNTUNED, functions)
        message = "" if timings else "kernels were not timed inside the model: the agent sent no timings of them"
        await self._runner.record(ev.KernelsTimed(timings, message, report.conditions.elapsed))

    async def _functions(self, folder: Path, workloads: Collection[str]) -> dict[str, str]:
        """Workload by name of its function in a package; a function is named anew where its weights are laid out."""
        manifest = await asyncio.to_thread(self._read_manifest, folder)
        return {name: workload for name, workload in manifest["functions"].items() if workload in workloads}

    async def _reference(self) -> tuple[bytes, bytes]:
        """Seeded inputs of the model, and ONNX Runtime's outputs for them."""
        answer: tuple[bytes, bytes] = await self._tuning.ask(
            Reference(self._sheet.model, self._sheet.shape_sets[0], REFERENCE_SEEDS, self._sheet.values)
        )
        return answer

    # ---- benchmark

    async def benchmark(self, wanted: ins.Benchmark) -> None:
        """Times tuned, untuned and ONNX Runtime in turn on a device, and checks the tuned build's outputs."""
        inputs, reference = await self._reference()
        work = farm_pb2.BenchmarkWork(
            contenders=await self._contenders(),
            inputs=await self._put(inputs),
            input_sets=len(REFERENCE_SEEDS),
            rounds=leases.BENCHMARK_ROUNDS,
            calls_per_round=leases.CALLS_PER_ROUND,
        )
        answer = await self._measuring.benchmark(f"b{wanted.number}", wanted, work)
        if isinstance(answer, ItemLost):
            await self._runner.record(ev.BenchmarkLost(answer.message))
            return
        event = await self._judge(*answer, reference)
        await asyncio.to_thread(self._complete_manifest, event)
        if event.matches:
            await asyncio.to_thread(_put_in_place, self._draft, self._package)
        await self._runner.record(event)

    async def _judge(self, delivered: Deliver, report: farm_pb2.OutcomeReport, reference: bytes) -> ev.Benchmarked:
        timings = leases.model_timings(report)
        error, matches, message = None, False, ""
        tuned = next((timing for timing in report.benchmark.timings if timing.name == TUNED), None)
        if tuned is None:
            message = "the device reported nothing of the tuned model" + (
                f": {report.failed.message}" if report.HasField("failed") else ""
            )
        elif not tuned.outputs_digest:
            message = f"the tuned model did not run on the device: {tuned.failed.message or 'no outputs came back'}"
        else:
            path = self._services.artifacts.path(tuned.outputs_digest)
            actual = await asyncio.to_thread(path.read_bytes)
            comparison = await asyncio.to_thread(compare_outputs, actual, reference, self._sheet.spec.allow_tf32)
            error, matches, message = comparison.max_rel_error, comparison.ok, comparison.message
        seconds = report.conditions.elapsed
        return ev.Benchmarked(timings, error, matches, message, delivered.device.name, seconds)

    async def _contenders(self) -> list[farm_pb2.ModelContender]:
        inputs = _specs((await self._tuning.summary()).sets[0])
        home = self._sheet.model.parent
        beside = [path for path in home.rglob("*") if path.is_file() and path != self._sheet.model]
        external = {path.relative_to(home).as_posix(): await self._put(path) for path in beside}
        return [
            await self._tvm(TUNED, self._folder, inputs, report_outputs=True),
            await self._tvm(UNTUNED, self._untuned, inputs),
            farm_pb2.ModelContender(
                name=ONNXRUNTIME,
                runtime=farm_pb2.ModelContender.RUNTIME_ONNXRUNTIME,
                artifact=await self._put(self._sheet.model),
                inputs=inputs,
                external_data=external,
                run_timeout=leases.MODEL_TIMEOUT_SECONDS,
            ),
        ]

    async def _tvm(
        self,
        name: str,
        folder: Path,
        inputs: list[common_pb2.TensorSpec],
        *,
        report_outputs: bool = False,
        time_kernels: bool = False,
    ) -> farm_pb2.ModelContender:
        manifest = await asyncio.to_thread(self._read_manifest, folder)
        return farm_pb2.ModelContender(
            entry=manifest["entries"]["by_kernel" if time_kernels else "whole"],
            name=name,
            runtime=farm_pb2.ModelContender.RUNTIME_TVM,
            artifact=await self._put(folder / manifest["library"]),
            inputs=inputs,
            report_outputs=report_outputs,
            time_kernels=time_kernels,
            run_timeout=leases.MODEL_TIMEOUT_SECONDS,
        )

    async def _put(self, content: bytes | Path) -> str:
        store = self._services.artifacts
        if isinstance(content, bytes):
            return await asyncio.to_thread(store.put, content)
        return await asyncio.to_thread(store.put_file, content)

    @staticmethod
    def _read_manifest(folder: Path) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        return manifest

    def _complete_manifest(self, event: ev.Benchmarked) -> None:
        """Adds what was measured of the package to its manifest."""
        folder = self._folder
        path = folder / MANIFEST
        manifest = self._read_manifest(folder)
        in_model = self._runner.brain.finals.in_model
        for task in manifest["tasks"]:
            if task["workload"] in in_model:
                tuned, default = in_model[task["workload"]]
                task["seconds_in_model"] = {"tuned": tuned, "default": default}
        manifest["latency_ms"] = {timing.name: latency_ms(timing.samples) for timing in event.timings}
        manifest["max_rel_error"] = event.max_rel_error
        manifest["device"] = event.device
        manifest["benchmarked"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(manifest, indent=2) + "\n")
        draft.replace(path)


def _put_in_place(draft: Path, package: Path) -> None:
    """The draft takes the package's place. It may have done so before."""
    if draft.exists():
        shutil.rmtree(package, ignore_errors=True)
        draft.rename(package)


def _specs(summary: PreparedSummary) -> list[common_pb2.TensorSpec]:
    return [
        common_pb2.TensorSpec(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype) for tensor in summary.inputs
    ]


def latency_ms(samples: tuple[float, ...]) -> float | None:
    """Median of one inference in milliseconds."""
    return median(samples) * 1e3 if samples else None


def spread_ms(samples: tuple[float, ...]) -> float | None:
    """Half the interquartile range in milliseconds."""
    if len(samples) < 2:
        return None
    low, _, high = quantiles(samples, n=4)
    return (high - low) / 2 * 1e3
