"""Tuning records as a MetaSchedule JSON database, for whoever compiles with plain TVM."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tunefarm_coordinator.engines import module_text, programs, trace_text
from tunefarm_coordinator.models.task import TuningTask

WORKLOAD_FILE = "database_workload.json"
RECORD_FILE = "database_tuning_record.json"

# (workload, trace text, seconds of one call)
TuningRecord = tuple[str, str, float]


def write_database(
    directory: Path, target_json: str, tasks: Iterable[TuningTask], records: Sequence[TuningRecord]
) -> None:
    """Write the two database files into `directory`, in place of any that are there.

    They hold the records of these tasks; others are left out, for their modules are not known here. So are schedules of
    another algorithm than the kernel's own (`engines.programs`): plain TVM has no way to write it down.
    """
    for name in (WORKLOAD_FILE, RECORD_FILE):
        (directory / name).write_text("")
    target = Target(target_json)
    modules = {task.workload: task.module for task in tasks}
    database = ms.database.JSONDatabase(str(directory / WORKLOAD_FILE), str(directory / RECORD_FILE))
    for workload, trace, seconds in records:
        if workload not in modules or programs.named_in(json.loads(trace)[0]) is not None:
            continue
        module = module_text.load(modules[workload])
        schedule = trace_text.replay(module, trace, target)
        committed = database.commit_workload(module)
        arguments = ms.arg_info.ArgInfo.from_prim_func(module["main"])
        database.commit_tuning_record(ms.database.TuningRecord(schedule.trace, committed, [seconds], target, arguments))
