"""Whole models on a device: a job's builds and ONNX Runtime in turn, one shape set after the other."""

import asyncio
import io
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

import numpy as np

from tunefarm_coordinator.control import leases
from tunefarm_coordinator.control.measuring import MeasuringStage
from tunefarm_coordinator.control.preparing import model_of, reference_of
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.farm.messages import Deliver, ItemLost
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.models.compare import Bound, compare_outputs
from tunefarm_coordinator.models.samples import npz_archive
from tunefarm_proto.v1 import common_pb2, farm_pb2

MANIFEST = "manifest.json"
# Beside each library: one set of its inputs.
SAMPLE_FILE = "inputs.npz"
TUNED, UNTUNED, ONNXRUNTIME = "tuned", "untuned", "onnxruntime"


class ModelBenchmarks:
    """What one job wants to know of its packages on a device. A package is a folder with a manifest."""

    def __init__(self, runner: JobRunner, services: Services, tuning: TuningStage, measuring: MeasuringStage) -> None:
        self._runner = runner
        self._sheet = runner.sheet
        self._services = services
        self._tuning = tuning
        self._measuring = measuring

    # ---- kernels inside the model

    async def kernels(
        self, wanted: ins.TimeKernels, tuned: Path, untuned: Path
    ) -> tuple[ev.KernelsTimed, Deliver | None]:
        """Times the packages' kernels in turn, in the model of every shape set: a winner may be in one set alone. Of a
        kernel that is in several, the seconds of one inference of each are added up, as its weight is. With the (last)
        device that did it, if one did."""
        found = [await self._kernels(wanted, tuned, untuned, at) for at in range(len(self._sheet.shape_sets))]
        timed = [event for event, _ in found]
        messages = dict.fromkeys(event.message for event in timed if event.message)
        seconds = sum(event.seconds for event in timed)
        event = ev.KernelsTimed(added_up([event.kernels for event in timed]), "; ".join(messages), seconds)
        return event, next((delivered for _, delivered in reversed(found) if delivered is not None), None)

    async def _kernels(
        self, wanted: ins.TimeKernels, tuned: Path, untuned: Path, at: int
    ) -> tuple[ev.KernelsTimed, Deliver | None]:
        folders = {TUNED: tuned, UNTUNED: untuned}
        functions = {name: await self._functions(folder, at, wanted.workloads) for name, folder in folders.items()}
        if not functions[TUNED] and len(self._sheet.shape_sets) > 1:
            # None of the winners is in this set.
            return ev.KernelsTimed(()), None
        inputs, _ = await self._reference(at)
        work = farm_pb2.BenchmarkWork(
            contenders=[await self._tvm(name, folder, at, time_kernels=True) for name, folder in folders.items()],
            inputs=await self._put(inputs),
            input_sets=1,
            rounds=leases.KERNEL_ROUNDS,
            calls_per_round=leases.CALLS_PER_ROUND,
            warm_up=leases.WARM_UP_SECONDS,
        )
        answer = await self._measuring.benchmark(self._name(f"k{wanted.number}", at), wanted, work)
        if isinstance(answer, ItemLost):
            return ev.KernelsTimed((), f"kernels were not timed inside the model: {answer.message}"), None
        delivered, report = answer
        timings = leases.kernel_timings(report, TUNED, UNTUNED, functions)
        message = "" if timings else "kernels were not timed inside the model: the agent sent no timings of them"
        return ev.KernelsTimed(timings, message, report.conditions.elapsed), delivered

    async def _functions(self, folder: Path, at: int, workloads: Collection[str]) -> dict[str, str]:
        """Workload by name of its function in a package; a function is named anew where its weights are laid out."""
        found = await self._set(folder, at)
        return {name: workload for name, workload in found["functions"].items() if workload in workloads}

    # ---- whole models

    async def models(self, wanted: ins.Benchmark, tuned: Path, untuned: Path) -> ev.Benchmarked | ev.BenchmarkLost:
        """Times tuned, untuned and ONNX Runtime in turn, and checks the tuned build's outputs; set by set, as long as
        they match."""
        found: list[ev.Benchmarked] = []
        for at in range(len(self._sheet.shape_sets)):
            event = await self._model(wanted, tuned, untuned, at)
            if isinstance(event, ev.BenchmarkLost):
                return ev.BenchmarkLost(self._sheet.of_set(at) + event.message)
            found.append(replace(event, message=self._sheet.of_set(at) + event.message) if event.message else event)
            if not event.matches:
                break
        return summed_up(found)

    async def _model(
        self, wanted: ins.Benchmark, tuned: Path, untuned: Path, at: int
    ) -> ev.Benchmarked | ev.BenchmarkLost:
        inputs, reference = await self._reference(at)
        library = (await self._set(tuned, at))["library"]
        await asyncio.to_thread((tuned / library).with_name(SAMPLE_FILE).write_bytes, first_set(inputs))
        work = farm_pb2.BenchmarkWork(
            contenders=[
                await self._tvm(TUNED, tuned, at, report_outputs=True),
                await self._tvm(UNTUNED, untuned, at),
                await self._onnxruntime(at),
            ],
            inputs=await self._put(inputs),
            input_sets=count_sets(reference),
            rounds=leases.BENCHMARK_ROUNDS,
            narrow=leases.BENCHMARK_NARROW,
            calls_per_round=leases.CALLS_PER_ROUND,
            seconds_per_round=leases.SECONDS_PER_ROUND,
            warm_up=leases.WARM_UP_SECONDS,
        )
        answer = await self._measuring.benchmark(self._name(f"b{wanted.number}", at), wanted, work)
        if isinstance(answer, ItemLost):
            return ev.BenchmarkLost(answer.message)
        return await self._judge(*answer, reference, (await self._tuning.summary()).sets[at].bounds)

    async def _judge(
        self, delivered: Deliver, report: farm_pb2.OutcomeReport, reference: bytes, bounds: Sequence[Bound]
    ) -> ev.Benchmarked:
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
            actual = await asyncio.to_thread(self._outputs, tuned.outputs_digest)
            comparison = await asyncio.to_thread(
                compare_outputs,
                actual,
                reference,
                bounds,
                allow_tf32=self._sheet.spec.allow_tf32,
                dispensable=self._sheet.spec.without_reference,
            )
            error, matches, message = comparison.max_rel_error, comparison.ok, comparison.message
        seconds = report.conditions.elapsed
        return ev.Benchmarked(timings, error, matches, message, delivered.device.name, seconds)

    def _outputs(self, digest: str) -> bytes:
        """What an agent uploaded; it goes with the job."""
        return self._services.artifacts.adopt(digest, self._sheet.job_id).read_bytes()

    # ---- who runs

    async def _tvm(
        self, name: str, folder: Path, at: int, *, report_outputs: bool = False, time_kernels: bool = False
    ) -> farm_pb2.ModelContender:
        packaged = await self._set(folder, at)
        return farm_pb2.ModelContender(
            entry=packaged["entries"]["by_kernel" if time_kernels else "whole"],
            name=name,
            runtime=farm_pb2.ModelContender.RUNTIME_TVM,
            artifact=await self._put(folder / packaged["library"]),
            inputs=await self._inputs(at),
            report_outputs=report_outputs,
            time_kernels=time_kernels,
            run_timeout=leases.MODEL_TIMEOUT_SECONDS,
        )

    async def _onnxruntime(self, at: int) -> farm_pb2.ModelContender:
        model = model_of(self._sheet, (await self._tuning.summary()).sets[at])
        home = model.parent
        beside = [path for path in home.rglob("*") if path.is_file() and path != model]
        return farm_pb2.ModelContender(
            name=ONNXRUNTIME,
            runtime=farm_pb2.ModelContender.RUNTIME_ONNXRUNTIME,
            artifact=await self._put(model),
            inputs=await self._inputs(at),
            external_data={path.relative_to(home).as_posix(): await self._put(path) for path in beside},
            run_timeout=leases.MODEL_TIMEOUT_SECONDS,
        )

    async def _inputs(self, at: int) -> list[common_pb2.TensorSpec]:
        prepared = (await self._tuning.summary()).sets[at]
        return [common_pb2.TensorSpec(name=t.name, shape=t.shape, dtype=t.dtype) for t in prepared.inputs]

    async def _reference(self, at: int) -> tuple[bytes, bytes]:
        """Input sets of the model with these shapes, and ONNX Runtime's outputs for them."""
        prepared = (await self._tuning.summary()).sets[at]
        answer: tuple[bytes, bytes] = await self._tuning.ask(reference_of(self._sheet, prepared, at))
        return answer

    async def _put(self, content: bytes | Path) -> str:
        store, job_id = self._services.artifacts, self._sheet.job_id
        if isinstance(content, bytes):
            return await asyncio.to_thread(store.put, content, job_id)
        return await asyncio.to_thread(store.put_file, content, job_id)

    @staticmethod
    async def _set(folder: Path, at: int) -> dict[str, Any]:
        return sets_of(await asyncio.to_thread(read_manifest, folder))[at]

    def _name(self, name: str, at: int) -> str:
        """A piece of work on the set; the first one's is called as in a job that has no other."""
        return name if at == 0 else f"{name}s{at + 1}"


def read_manifest(folder: Path) -> dict[str, Any]:
    """A package's manifest. Raises OSError."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return manifest


def sets_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """What a manifest says of each shape set; a package with one set says it of itself."""
    return manifest.get("shape_sets") or [manifest]


def count_sets(reference: bytes) -> int:
    """Input sets that an archive of `Reference`'s answer has outputs for."""
    with np.load(io.BytesIO(reference)) as archive:
        return len({name.partition("_")[0] for name in archive.files})


def first_set(inputs: bytes) -> bytes:
    """The first set of an archive of `Reference`'s answer, as users bring theirs: arrays named as the inputs."""
    prefix = "s0_in"
    with np.load(io.BytesIO(inputs)) as archive:
        return npz_archive({n.removeprefix(prefix): archive[n] for n in archive.files if n.startswith(prefix)})


def added_up(timings: Sequence[Sequence[ev.KernelTiming]]) -> tuple[ev.KernelTiming, ...]:
    """The kernels of several models; what is in several of them is added up round by round."""
    found: dict[str, ev.KernelTiming] = {}
    for timing in (timing for of_set in timings for timing in of_set):
        known = found.get(timing.workload)
        found[timing.workload] = timing if known is None else _sum(known, timing)
    return tuple(found.values())


def _sum(one: ev.KernelTiming, other: ev.KernelTiming) -> ev.KernelTiming:
    tuned = tuple(a + b for a, b in zip(one.tuned, other.tuned, strict=False))
    default = tuple(a + b for a, b in zip(one.default, other.default, strict=False))
    return ev.KernelTiming(one.workload, tuned, default)


def summed_up(found: Sequence[ev.Benchmarked]) -> ev.Benchmarked:
    """The benchmarks of a job's sets, one at least, as one: the first set's times, the greatest error of all."""
    if len(found) == 1:
        return found[0]
    errors = [event.max_rel_error for event in found if event.max_rel_error is not None]
    return replace(
        found[0],
        max_rel_error=max(errors, default=None),
        matches=all(event.matches for event in found),
        message="; ".join(event.message for event in found if event.message),
        seconds=sum(event.seconds for event in found),
        sets=tuple(ev.SetBenchmark(event.timings, event.max_rel_error, event.device) for event in found),
    )


def latency_ms(samples: tuple[float, ...]) -> float | None:
    """Median of one inference in milliseconds."""
    return median(samples) * 1e3 if samples else None


def mean_ms(samples: tuple[float, ...]) -> float | None:
    """Arithmetic mean of one inference in milliseconds."""
    return fmean(samples) * 1e3 if samples else None


def spread_ms(samples: tuple[float, ...]) -> float | None:
    """Half the interquartile range in milliseconds."""
    if len(samples) < 2:
        return None
    low, _, high = quantiles(samples, n=4)
    return (high - low) / 2 * 1e3
