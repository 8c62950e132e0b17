"""Tuning records as a MetaSchedule JSON database, for whoever compiles with plain TVM."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tvm_ffi
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tunefarm_coordinator.engines import module_text, programs, trace_text
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS
from tunefarm_coordinator.models.log_lines import RECORD_FILE, WORKLOAD_FILE, Written
from tunefarm_coordinator.models.task import TuningTask

# (workload, trace text, seconds of one call)
TuningRecord = tuple[str, str, float]


def write_database(
    directory: Path, target_json: str, tasks: Iterable[TuningTask], records: Sequence[TuningRecord]
) -> None:
    """Write the two database files into `directory`, in place of any that are there.

    They hold the records of these tasks; others are left out, for their modules are not known here. So are schedules of
    another algorithm than the kernel's own (`engines.programs`): plain TVM has no way to write it down.
    """
    modules = {task.workload: task.module for task in tasks}
    append(directory, target_json, modules, [record for record in records if record[0] in modules], Written())


def append(
    directory: Path, target_json: str, modules: Mapping[str, str], records: Sequence[TuningRecord], before: Written
) -> Written:
    """Adds records to the database that is in `directory`, as far as `before` says; no more is held than these records.

    `modules`: IR of each of their workloads. A record is written once its trace was replayed: one that TVM can't replay
    would keep it from opening the files.
    """
    files = (directory / WORKLOAD_FILE, directory / RECORD_FILE)
    for path, size in zip(files, before.sizes, strict=True):
        with path.open("ab") as file:
            file.truncate(size)
    places, other_algorithm, unfit, written = dict(before.places), before.other_algorithm, before.unfit, before.records
    # TVM reads a database whole before it adds to it: these records become one of their own, whose lines are moved.
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        page = _Page(Path(folder), Target(target_json))
        for workload, trace, seconds in records:
            try:
                if programs.named_in(json.loads(trace)[0]) is not None:
                    other_algorithm += 1
                else:
                    page.add(modules[workload], trace, seconds)
            except TVM_ERRORS:
                unfit += 1
        with files[0].open("ab") as workload_file, files[1].open("ab") as record_file:
            for name, line in page.workloads():
                if name not in places:
                    places[name] = len(places)
                    workload_file.write(line)
            for name, rest in page.records():
                record_file.write(b"[%d,%s" % (places[name], rest))
                written += 1
    sizes = (files[0].stat().st_size, files[1].stat().st_size)
    return Written(places, sizes, written, other_algorithm, unfit)


class _Page:
    """A small database as TVM writes it."""

    def __init__(self, folder: Path, target: Target) -> None:
        self._files = (folder / WORKLOAD_FILE, folder / RECORD_FILE)
        self._database = ms.database.JSONDatabase(*map(str, self._files))
        self._target = target
        self._modules: dict[str, Any] = {}
        # Hashes of its workloads in the order of their lines.
        self._names: list[str] = []

    def add(self, text: str, trace: str, seconds: float) -> None:
        """Raises what TVM raises for a trace that does not fit."""
        if text not in self._modules:
            self._modules[text] = module_text.load(text)
        module = self._modules[text]
        schedule = trace_text.replay(module, trace, self._target)
        arguments = ms.arg_info.ArgInfo.from_prim_func(module["main"])
        committed = self._database.commit_workload(module)
        name = str(tvm_ffi.structural_hash(module))
        if name not in self._names:
            self._names.append(name)
        record = ms.database.TuningRecord(schedule.trace, committed, [seconds], self._target, arguments)
        self._database.commit_tuning_record(record)

    def workloads(self) -> Iterator[tuple[str, bytes]]:
        """Each with its line."""
        with self._files[0].open("rb") as lines:
            yield from zip(self._names, lines, strict=True)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """The workload of each, and its line behind the workload's place."""
        with self._files[1].open("rb") as lines:
            for line in lines:
                place, _, rest = line.partition(b",")
                yield self._names[int(place.removeprefix(b"["))], rest
