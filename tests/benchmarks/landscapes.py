"""Landscapes: measured schedules of kernels, with the features that a cost model sees them by. Needs no device.

A source is a schedule store (a `tunefarm.db`, of which a copy is read) or a work folder of `record_trials.py`.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from record_trials import EXHAUSTED, read_trials
from rich.progress import track
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.model_zoo import ZOO, model_path
from tunefarm_coordinator.compute.messages import PrepareModel
from tunefarm_coordinator.compute.model_work import prepare_model
from tunefarm_coordinator.engines import module_text, programs, trace_text
from tunefarm_coordinator.engines.features import FeatureExtractor, Features
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.schedules.record import Source
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store

# Changes with what is kept in a work folder.
_VERSION = 1


@dataclass(frozen=True)
class Measured:
    """A schedule of a kernel. `seconds` of one call; None where it failed. `default`: no trial was spent on it."""

    features: Features
    seconds: float | None
    default: bool = False


@dataclass(frozen=True)
class Kernel:
    """A kernel and all its schedules that can be described; other algorithms than the kernel's own can't."""

    workload: str
    schedules: tuple[Measured, ...]

    @property
    def best(self) -> float | None:
        """Seconds of the fastest."""
        return min((each.seconds for each in self.schedules if each.seconds is not None), default=None)


# (trace, seconds, default), by workload
_Traces = dict[str, list[tuple[str, float | None, bool]]]


def landscape(sources: Sequence[Path], work: Path) -> dict[str, Kernel]:
    """The kernels of all sources together, by workload; a schedule that was measured several times has the median.
    What was described once is kept in `work`."""
    known: dict[str, dict[bytes, list[Measured]]] = {}
    for source in sources:
        for workload, schedule in _described(source, work):
            name = schedule.features.tobytes()
            known.setdefault(workload, {}).setdefault(name, []).append(schedule)
    return {
        workload: Kernel(workload, tuple(joined(each) for each in schedules.values()))
        for workload, schedules in known.items()
    }


def joined(same: Sequence[Measured]) -> Measured:
    """One schedule that was measured several times."""
    times = [each.seconds for each in same if each.seconds is not None]
    return Measured(same[0].features, median(times) if times else None, any(each.default for each in same))


def _described(source: Path, work: Path) -> Iterable[tuple[str, Measured]]:
    kept = work / f"{hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]}-{_VERSION}.npz"
    if not kept.exists():
        modules, target, traces = _of_store(source) if source.is_file() else _of_recording(source)
        keep(kept, list(_describe(modules, target, traces, str(source))))
    return read(kept)


def _of_store(path: Path) -> tuple[Mapping[str, str], str, _Traces]:
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(path, folder)
        with Store.open(f"sqlite:///{copy}") as store:
            [target] = store.targets()
            records = store.records(RecordFilter(), limit=1_000_000)
            found = store.traces_of(records)
            modules = store.workloads([record.workload for record in records])
    traces: _Traces = {}
    for record in records:
        trace = found[record.workload, record.identity]
        bound = getattr(record.outcome, "at_least_seconds", None)
        seconds = record.seconds if bound is None else bound  # as search is told
        traces.setdefault(record.workload, []).append((trace, seconds, record.source is Source.BASELINE))
    return {name: known.module for name, known in modules.items()}, target, traces


def _of_recording(folder: Path) -> tuple[Mapping[str, str], str, _Traces]:
    name = folder.name.removesuffix("-unchosen")
    summary = prepare_model(PrepareModel(model_path(name), ZOO[name].shapes, "host", folder / "prepared"))
    traces = {
        workload: [
            (trial.trace, trial.result if isinstance(trial.result, float) else None, trial.baseline)
            for trial in trials
            if trial.result != EXHAUSTED
        ]
        for workload, trials in read_trials(folder).items()
    }
    return {task.workload: task.module for task in summary.tasks}, summary.target, traces


def _describe(modules: Mapping[str, str], target: str, traces: _Traces, source: str) -> Iterable[tuple[str, Measured]]:
    machine = Target(target)
    for workload, schedules in track(traces.items(), f"features of {source}"):
        module = module_text.load(modules[workload])
        extractor = FeatureExtractor(ms.TuneContext(module, target=machine, num_threads=1))
        for text, seconds, default in schedules:
            if programs.named_in(json.loads(text)[0]) is not None:
                continue
            try:
                features = extractor.extract(trace_text.replay(module, text, machine))
            except TVM_ERRORS:  # it failed to build as well
                continue
            if len(features):
                yield workload, Measured(features, seconds, default)


def keep(path: Path, schedules: Sequence[tuple[str, Measured]]) -> None:
    """Writes schedules of workloads to where `read` finds them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.array([len(each.features) for _, each in schedules])
    rows: NDArray[np.float32] = np.concatenate([each.features for _, each in schedules])
    told = json.dumps([(workload, each.seconds, each.default) for workload, each in schedules])
    np.savez_compressed(path, rows=rows, lengths=lengths, told=np.array(told))


def read(path: Path) -> Iterable[tuple[str, Measured]]:
    """What `keep` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        packs = np.split(arrays["rows"], np.cumsum(arrays["lengths"])[:-1])
        for pack, (workload, seconds, default) in zip(packs, json.loads(str(arrays["told"])), strict=True):
            yield workload, Measured(np.ascontiguousarray(pack), seconds, default)
