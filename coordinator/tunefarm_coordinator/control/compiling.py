"""A model compiled with the best schedules that the store has: no device, no trial, seconds."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunefarm_coordinator.compute.messages import CheckPackage, Package
from tunefarm_coordinator.control.benchmarking import MANIFEST, SAMPLE_FILE, first_set, read_manifest, sets_of
from tunefarm_coordinator.control.lookup import Found, KnownTask
from tunefarm_coordinator.control.manifest import described
from tunefarm_coordinator.control.preparing import reference_of, told_to_user
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.schedules.record import Measured, Source

Records = tuple[tuple[str, str, tuple[float, ...]], ...]


class Compiler:
    """Makes packages of what `Lookup` found."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @contextlib.asynccontextmanager
    async def compiled(self, found: Found, *, verified_only: bool = False) -> AsyncIterator[Path]:
        """The package's folder, which goes when the caller is done. Where this machine can run the model, its outputs
        were compared with ONNX Runtime's.

        `verified_only`: schedules that no finals have verified are left out. Raises InvalidInput (wrong outputs),
        Unavailable, TunefarmError.
        """
        async with self._services.folders.scratch("compiled-") as folder:
            with told_to_user(found.sheet.model, "the model could not be compiled"):
                await self._compile(found, _chosen(found.tasks, verified_only=verified_only), folder)
            yield folder

    async def _compile(self, found: Found, chosen: Sequence[KnownTask], folder: Path) -> None:
        ask, sheet = self._services.compute.ask, found.sheet
        traces, records = await asyncio.to_thread(self._traces, chosen)
        prepared = tuple(wanted.out_dir for wanted in sheet.preparations(self._services.folders))
        about = await asyncio.to_thread(described, sheet, found.summary)
        await ask(Package(prepared, traces, records, folder, about))
        sets = sets_of(await asyncio.to_thread(read_manifest, folder))
        for at, (of_set, summary) in enumerate(zip(sets, found.summary.sets, strict=True)):
            library, reference = folder / of_set["library"], reference_of(sheet, summary, at)
            ran = await ask(CheckPackage(library, prepared[at], reference, summary.bounds))
            inputs, _ = await ask(reference)
            await asyncio.to_thread(library.with_name(SAMPLE_FILE).write_bytes, first_set(inputs))
        await asyncio.to_thread(_complete_manifest, folder, found, traces, checked=ran)

    def _traces(self, chosen: Sequence[KnownTask]) -> tuple[dict[str, str], Records]:
        """The trace of each chosen schedule by workload, and the records as packages keep them."""
        winners = [task.schedules[0].record for task in chosen]
        known = self._services.store.traces_of(winners)
        keys = [(record.workload, record.identity) for record in winners]
        traces = {key[0]: known[key] for key in keys if key in known}
        records = tuple(
            (record.workload, traces[record.workload], record.outcome.samples)
            for record in winners
            if record.workload in traces and isinstance(record.outcome, Measured)
        )
        return traces, records


def _chosen(tasks: Sequence[KnownTask], *, verified_only: bool) -> list[KnownTask]:
    """Tasks whose best schedule is not the default one, which the packager has of its own."""
    return [
        task
        for task in tasks
        if task.schedules
        and task.schedules[0].record.source is not Source.BASELINE
        and (task.schedules[0].verified or not verified_only)
    ]


def _complete_manifest(folder: Path, found: Found, traces: Mapping[str, str], *, checked: bool) -> None:
    """What each kernel was compiled with. A trace that no longer fits left its kernel with the default schedule."""
    manifest = read_manifest(folder)
    fitted = {task["workload"] for of_set in sets_of(manifest) for task in of_set["tasks"] if task["tuned"]}
    tuned = fitted & traces.keys()
    manifest["tasks"] = [_task(known, tuned=known.task.workload in tuned) for known in found.tasks]
    manifest["device_class"] = found.device_class
    manifest["checked_here"] = checked
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _task(known: KnownTask, *, tuned: bool) -> dict[str, Any]:
    """A task as the manifest of a job's package has it, and where its schedule comes from."""
    task = known.task
    best = known.schedules[0] if tuned else None
    return {
        "workload": task.workload,
        "name": task.name,
        "nodes": list(task.nodes),
        "weight": task.weight,
        "schedule": "tuned" if best else "default",
        "record": best.record.identity if best else None,
        "seconds": best.record.seconds if best else known.default_seconds,
        "default_seconds": known.default_seconds,
        "verified": best.verified if best else None,
        "job_id": best.record.job_id if best else None,
    }
