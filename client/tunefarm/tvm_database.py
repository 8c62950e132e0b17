"""The store as a database of TVM's MetaSchedule, for stock passes (`with database:`).

The client's only module that imports TVM; it is imported when a database is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import platform
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import tvm
import tvm_ffi
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tunefarm.calls import Calls
from tunefarm.errors import InvalidInput, NotFound
from tunefarm_proto.v1 import schedule_pb2

# On the root block of what is no schedule of the kernel's own module: TVM has no way to write that down.
_OTHER_PROGRAM = '"tunefarm.program"'
# What TVM raises for a trace that does not fit, by whatever class the C++ side named.
_UNFIT = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)


def open_database(calls: Calls, target: str | Mapping[str, object] | Any, device_class: str) -> Any:
    """See `Schedules.database`."""
    wanted = _meaning(_parsed(target))
    stats = calls.schedule_stats()
    scopes = [scope for scope in stats.scopes if scope.valid and scope.device_class and _means(scope.target, wanted)]
    if not scopes:
        raise NotFound(
            f"the store has no schedule for the target {json.dumps(wanted)}: `tunefarm schedules stats` shows for which"
            " targets it has some"
        )
    classes = sorted({scope.device_class for scope in scopes})
    if device_class and device_class not in classes:
        raise NotFound(
            f"the store has no schedule from {device_class!r} for this target, but from {', '.join(classes)}"
        )
    if not device_class and len(classes) > 1:
        raise InvalidInput(
            f"the store has schedules for this target from {len(classes)} classes of devices, whose times can't be"
            f" compared: {', '.join(classes)}; say which"
        )
    # One target may have been written in two ways.
    scope = max((scope for scope in scopes if scope.device_class == (device_class or classes[0])), key=_valid)
    return StoreDatabase(calls, scope.target, scope.device_class, tuple(stats.pipeline_versions))


@derived_object
class StoreDatabase(ms.database.PyDatabase):  # type: ignore[misc, unused-ignore]
    """The schedules of one target and device class. Every question goes to the store, nothing is kept.

    A schedule is given away once it was replayed on its kernel; one that stock TVM can't replay is passed over for the
    next best. TVM makes RuntimeErrors of the client's errors.
    """

    def __init__(self, calls: Calls, target: str, device_class: str, pipeline_versions: tuple[str, ...]) -> None:
        self._calls = calls
        self._scope = {"target": target, "device_class": device_class}
        self._target = _parsed(target)
        self._versions = pipeline_versions

    def query_tuning_record(self, mod: Any, target: Any, workload_name: str | None = None) -> Any:  # noqa: ARG002
        """The best record; None where there is none, and for any other target than the database's own: TVM's databases
        answer with whatever they have."""
        if _meaning(target) != _meaning(self._target):
            return None
        return next(self._replayed(ms.database.Workload(mod)), None)

    def get_top_k(self, workload: Any, top_k: int) -> list[Any]:
        """The best one first, then the fastest, each candidate once."""
        return list(itertools.islice(self._replayed(workload), int(top_k)))

    def has_workload(self, mod: Any) -> bool:
        """Whether there is a record that has a time."""
        return self._best(mod) is not None

    def commit_workload(self, mod: Any) -> Any:
        """What `get_top_k` asks for; nothing is written."""
        return ms.database.Workload(mod)

    def commit_tuning_record(self, record: Any) -> None:  # noqa: ARG002
        """Refused: what others measured comes in with checks, and says of which device it is."""
        raise InvalidInput(
            "the farm's store is only read here: write a JSONDatabase, and take it in with"
            " client.schedules.import_metaschedule(folder)"
        )

    def get_all_tuning_records(self) -> list[Any]:
        """Every measurement that can be replayed: as much as the store has of it, replayed one by one."""
        modules: dict[str, Any] = {}
        found = []
        with contextlib.closing(self._calls.export_schedules(self._request())) as answers:
            for item in (item for answer in answers for item in answer.items):
                if item.WhichOneof("item") == "workload":
                    modules[item.workload.workload] = ms.database.Workload(tvm.ir.load_json(item.workload.module))
                elif item.record.seconds and item.record.workload in modules:
                    found.append(self._tuning_record(item.record, modules[item.record.workload]))
        return [record for record in found if record is not None]

    def __len__(self) -> int:
        """How many measurements there are."""
        scopes = self._calls.schedule_stats().scopes
        mine = self._scope
        return sum(scope.valid for scope in scopes if all(getattr(scope, name) == mine[name] for name in mine))

    def _request(self, workload: str = "") -> schedule_pb2.ExportSchedulesRequest:
        return schedule_pb2.ExportSchedulesRequest(workload=workload, **self._scope)

    def _best(self, mod: Any) -> schedule_pb2.ScheduleRecord | None:
        """A kernel is the same one whatever version of the preparation it came out of."""
        digest = f"{tvm_ffi.structural_hash(mod) & (2**64 - 1):016x}"
        for version in self._versions:
            request = schedule_pb2.QueryBestRequest(workload=f"{version}-{digest}", **self._scope)
            with contextlib.suppress(NotFound):
                return self._calls.query_best(request).record
        return None

    def _replayed(self, workload: Any) -> Iterator[Any]:
        best = self._best(workload.mod)
        if best is None:
            return
        given = set()
        for record in itertools.chain([best], self._fastest(best.workload)):
            if record.candidate_id not in given:
                given.add(record.candidate_id)
                replayed = self._tuning_record(record, workload)
                if replayed is not None:
                    yield replayed

    def _fastest(self, workload: str) -> Iterator[schedule_pb2.ScheduleRecord]:
        """Every valid record; asked for only where the best one is not enough."""
        with contextlib.closing(self._calls.export_schedules(self._request(workload))) as answers:
            records = [item.record for answer in answers for item in answer.items if item.record.seconds]
        yield from sorted(records, key=lambda record: statistics.median(record.seconds))

    def _tuning_record(self, record: schedule_pb2.ScheduleRecord, workload: Any) -> Any:
        """None: stock TVM has no such schedule."""
        if not record.trace or _OTHER_PROGRAM in record.trace:
            return None
        if '"Tensorize"' in record.trace:
            importlib.import_module("tvm.s_tir.tensor_intrin")  # many seconds, and few schedules need it
        try:
            schedule = Schedule(workload.mod, debug_mask="none", error_render_level="none")
            with self._target:
                Trace.apply_json_to_schedule(json.loads(record.trace), schedule)
            arguments = ms.arg_info.ArgInfo.from_prim_func(workload.mod["main"])
        except _UNFIT:
            return None
        # TVM ranks by the mean, and samples of a busy device have outliers.
        seconds = [statistics.median(record.seconds)]
        return ms.database.TuningRecord(schedule.trace, workload, seconds, self._target, arguments)


def _valid(scope: schedule_pb2.ScopeStats) -> int:
    return scope.valid


def _parsed(target: Any) -> Any:
    """TVM's target. Raises InvalidInput."""
    if isinstance(target, Target):
        return target
    try:
        return Target(json.loads(target) if isinstance(target, str) else dict(target))
    except _UNFIT as error:
        raise InvalidInput(f"target {target!r} is not one that TVM knows; give its JSON: {error}") from error


def _means(target: str, wanted: dict[str, Any]) -> bool:
    with contextlib.suppress(InvalidInput):  # of another version of TVM
        return _meaning(_parsed(target)) == wanted
    return False


def _meaning(target: Any) -> dict[str, Any]:
    """What kernels are compiled for. The system is this machine's where none is said, and may be written in two ways
    (x86_64-linux-gnu, x86_64-unknown-linux-gnu)."""
    said = json.loads(json.dumps(dict(target.export()), default=str))
    triple = said.get("mtriple") or f"{platform.machine()}-linux"
    architecture, *rest = triple.split("-")
    system = "linux" if "linux" in rest else "-".join(rest)
    left_out = ("tag", "host", "mtriple")
    return {**{key: said[key] for key in sorted(said) if key not in left_out}, "mtriple": f"{architecture}-{system}"}
