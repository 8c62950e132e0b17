"""`client.schedules`: the best-schedule database; what it holds, and how stores give one another what they know."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tunefarm.calls import Calls
from tunefarm.errors import TunefarmError, Unavailable, Unreachable
from tunefarm.extras import require_extras
from tunefarm.metaschedule import ExportedDatabases, delivered, exported, find_databases
from tunefarm.pruning import Pruned, PruneProgress, prune_request, pruned_from
from tunefarm.retracting import Retracted, retract_request, retracted_from
from tunefarm.schedule_file import Numbered, RefusalKind, Refuse, Refused, ScheduleWriter, find_files
from tunefarm.schedule_stats import ScheduleStats, stats_from
from tunefarm.watching import Outage
from tunefarm_proto.v1 import schedule_pb2

# A batch is one transaction of the coordinator's: a tenth of a second in which it writes nothing else, and one wait for
# the disk. Several are under way at once, so that neither side waits.
_BATCH_ITEMS = 1000
_BATCH_BYTES = 4 << 20
_UNDER_WAY = 3
_OUTAGE_SECONDS = 30.0
# Of the refusals that are kept one by one; all of them are counted.
MOST_REFUSED = 10_000


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written to `path`; `size` in bytes."""

    path: Path
    records: int
    workloads: int
    devices: int
    size: int


@dataclasses.dataclass(frozen=True)
class Imported:
    """What came of an import so far.

    Attributes:
        added, known: records that were new, and that the store had.
        workloads, devices: how many of these were new.
        refused: what was set aside, the first 10,000 one by one.
        refused_by_kind: how much was set aside, all of it.
    """

    added: int = 0
    known: int = 0
    workloads: int = 0
    devices: int = 0
    refused: tuple[Refused, ...] = ()
    refused_by_kind: Mapping[RefusalKind, int] = dataclasses.field(default_factory=dict)

    @property
    def refused_count(self) -> int:
        """How many items were set aside."""
        return sum(self.refused_by_kind.values())

    def __add__(self, other: Imported) -> Imported:
        """Of both, one after the other."""
        kinds = collections.Counter(self.refused_by_kind) + collections.Counter(other.refused_by_kind)
        return Imported(
            added=self.added + other.added,
            known=self.known + other.known,
            workloads=self.workloads + other.workloads,
            devices=self.devices + other.devices,
            refused=(self.refused + other.refused)[:MOST_REFUSED],
            refused_by_kind=dict(kinds),
        )


# (items so far)
ExportProgress = Callable[[int], None]
# (what came of it so far, bytes read, bytes in all; 0: not known)
ImportProgress = Callable[[Imported, int, int], None]


class Schedules:
    """`client.schedules`. Methods raise Denied without the role that they need, Unavailable where the coordinator stays
    away for half a minute."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def export_to(
        self,
        path: str | Path,
        *,
        workload: str = "",
        target: str = "",
        device_class: str = "",
        project: str = "",
        progress: ExportProgress | None = None,
    ) -> Exported:
        """Writes the records that match, with what they are of, as JSON lines; packed where the name ends in .gz.

        An empty filter is none; `target` is TVM's JSON, `device_class` as `devices()` has it. The file is complete, or
        as it was before. Role: viewer. Raises InvalidInput: it can't be written, or a target is not JSON.
        """
        wanted = schedule_pb2.ExportSchedulesRequest(
            workload=workload, target=target, device_class=device_class, project=project
        )
        outage = Outage(_OUTAGE_SECONDS, time.monotonic)
        while True:
            try:
                return self._export(Path(path), wanted, progress, outage)
            except Unreachable:
                raise
            except Unavailable as error:
                time.sleep(outage.next_pause(error))

    def _export(
        self,
        path: Path,
        wanted: schedule_pb2.ExportSchedulesRequest,
        progress: ExportProgress | None,
        outage: Outage,
    ) -> Exported:
        counts: collections.Counter[str] = collections.Counter()
        with ScheduleWriter(path) as writer, contextlib.closing(self._calls.export_schedules(wanted)) as answers:
            for answer in answers:
                outage.over()
                for item in answer.items:
                    writer.write(item)
                    counts[item.WhichOneof("item") or ""] += 1
                if progress is not None:
                    progress(counts.total())
        return Exported(path, counts["record"], counts["workload"], counts["device"], path.stat().st_size)

    def import_from(
        self, paths: Sequence[str | Path] | str | Path, *, progress: ImportProgress | None = None
    ) -> Imported:
        """Takes files in that `export_to` wrote, those of a folder too, of any length. Role: admin.

        What is known is kept once, so an import that was broken off is simply run again. What can't be taken is set
        aside, with its line and the reason, and the rest goes on. Imported records never become best before they are
        measured here.
        Raises InvalidInput, before anything is sent, where a file is missing or another program's.
        """
        named = [paths] if isinstance(paths, str | Path) else paths
        return self._import(find_files([Path(path) for path in named]), progress)

    def import_metaschedule(
        self,
        paths: Sequence[str | Path] | str | Path,
        *,
        device_class: str = "",
        progress: ImportProgress | None = None,
    ) -> Imported:
        """Takes in databases of TVM's MetaSchedule (JSONDatabase), from these folders and those below. Role: admin.

        `device_class`: of the device that they were measured on, as `devices()` has it; empty: that of the farm's
        devices that serve their target, else the only one that the store has records of for it. Each schedule is
        replayed; otherwise as `import_from`. Raises InvalidInput (no database, no class to be found), NotFound (class).
        """
        named = [paths] if isinstance(paths, str | Path) else paths
        databases = find_databases([Path(path) for path in named])
        tally = _Tally()
        before, total = 0, sum(database.size for database in databases)
        for database in databases:
            for answer in delivered(self._calls, database, device_class):
                tally.count(str(database.records), answer.taken)
                if progress is not None:
                    progress(tally.so_far(), before + answer.bytes, total)
            before += database.size
        return tally.so_far()

    def export_metaschedule(
        self,
        folder: str | Path,
        *,
        workload: str = "",
        target: str = "",
        device_class: str = "",
        project: str = "",
        progress: ExportProgress | None = None,
    ) -> ExportedDatabases:
        """Writes the valid records that match as databases that stock TVM loads, a folder for each target.

        Filters as `export_to`. TVM's databases know no device: name a class where the store has several for a target.
        Role: submitter. Raises InvalidInput, NotFound (nothing matches).
        """
        wanted = schedule_pb2.ExportSchedulesRequest(
            workload=workload, target=target, device_class=device_class, project=project
        )
        return exported(self._calls, wanted, Path(folder), progress)

    def database(self, target: str | Mapping[str, object] | Any, *, device_class: str = "") -> Any:
        """The store as TVM has databases: a `PyDatabase`, so that `with target, database:` has stock passes
        (`relax.transform.MetaScheduleApplyDatabase`, `compile_relax`) take its schedules. Role: viewer.

        What they find are kernels of a package's `prepared_module.json`: other modules have other kernels. `target`:
        TVM's, or its JSON; questions for any other find nothing. `device_class`: as `devices()` has it; empty: the only
        one with schedules for the target. It reads: what TVM's tuner finds comes in by `import_metaschedule`.
        Raises NotInstalled (TVM), InvalidInput (no target, several classes), NotFound (no schedule).
        """
        require_extras(["tvm"], "a database for TVM's passes")
        from tunefarm.tvm_database import open_database

        return open_database(self._calls, target, device_class)

    def merge_from(self, other: Schedules, *, name: str = "", progress: ImportProgress | None = None) -> Imported:
        """Takes in all that another coordinator has, as `import_from` does. Role: admin here, viewer there.

        `name`: what refusals call the other one.
        """
        return self._import([_OtherStore(other._calls, name or str(other._calls.coordinator.address()))], progress)

    def stats(self) -> ScheduleStats:
        """What the store holds, in numbers. Role: viewer."""
        return stats_from(self._calls.schedule_stats())

    def retract(
        self,
        *,
        agent: str = "",
        device: str = "",
        job: str = "",
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Retracted:
        """Takes back what an agent, a device (its fingerprint) or a job brought, from `since` on and before `until`.

        All that is given has to hold; `dry_run` only says how much it would be. It is put aside, with the reason: it is
        best of nothing any more, and not taken in from other farms. Role: admin. Raises InvalidInput (nothing named).
        """
        request = retract_request(
            agent=agent, device=device, job=job, since=since, until=until, reason=reason, dry_run=dry_run
        )
        return retracted_from(self._calls.retract_schedules(request))

    def prune(
        self,
        *,
        keep_top: int,
        workload: str = "",
        target: str = "",
        device_class: str = "",
        project: str = "",
        before: datetime.datetime | None = None,
        dry_run: bool = False,
        progress: PruneProgress | None = None,
    ) -> Pruned:
        """Makes the store smaller: of each workload, target and device class the `keep_top` fastest candidates stay.

        So does what was verified or compared, what jobs that run have measured, and the fastest of each job. Only
        records go that all that is given holds for (`target`: TVM's JSON; `before`: measured before). They count as
        trials still, and are not taken in again from other farms. `dry_run` only says how much it would be. May be
        broken off and begun again. Role: admin. Raises InvalidInput, NotFound (device class).
        """
        request = prune_request(
            keep_top=keep_top,
            workload=workload,
            target=target,
            device_class=device_class,
            project=project,
            before=before,
            dry_run=dry_run,
        )
        so_far = pruned_from(schedule_pb2.PrunedSchedules())
        for answer in self._calls.prune_schedules(request):
            so_far = pruned_from(answer)
            if progress is not None:
                progress(so_far)
        return so_far

    def _import(self, sources: Sequence[_Source], progress: ImportProgress | None) -> Imported:
        tally = _Tally()
        total = sum(source.size for source in sources)
        try:
            for batch, answer in _delivered(self._calls, _batches(sources, tally)):
                tally.count(batch.source, answer)
                if progress is not None:
                    progress(tally.so_far(), sum(source.position for source in sources), total)
        except _SourceFailed as failed:
            raise failed.error from failed
        return tally.so_far()


class _SourceFailed(Exception):
    """What was to be taken in can't be read any more; no outage of the coordinator that takes it in."""

    def __init__(self, error: TunefarmError) -> None:
        super().__init__(str(error))
        self.error = error


class _Source(Protocol):
    """Where items come from. `size` and `position` in bytes; 0: not known."""

    name: str
    size: int
    position: int

    def items(self, refuse: Refuse) -> Iterator[Numbered]: ...


class _OtherStore:
    """Another coordinator, as a source. A stream that breaks off begins anew: what was sent is known then."""

    def __init__(self, calls: Calls, name: str) -> None:
        self.name = name
        self.size = self.position = 0
        self._calls = calls

    def items(self, refuse: Refuse) -> Iterator[Numbered]:  # noqa: ARG002 - a coordinator sends nothing that is no item
        outage = Outage(_OUTAGE_SECONDS, time.monotonic)
        while True:
            number = 0
            try:
                with contextlib.closing(self._calls.export_schedules(schedule_pb2.ExportSchedulesRequest())) as answers:
                    for answer in answers:
                        outage.over()
                        for item in answer.items:
                            number += 1
                            yield number, item
                return
            except Unreachable:
                raise
            except Unavailable as error:
                time.sleep(outage.next_pause(error))


@dataclasses.dataclass(frozen=True)
class _Batch:
    source: str
    request: schedule_pb2.ImportSchedulesRequest


class _Tally:
    """What came of an import, added up."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._kinds: collections.Counter[RefusalKind] = collections.Counter()
        self._refused: list[Refused] = []

    def refuse(self, source: str, line: int, kind: RefusalKind, reason: str) -> None:
        self._kinds[kind] += 1
        if len(self._refused) < MOST_REFUSED:
            self._refused.append(Refused(source, line, kind, reason))

    def count(self, source: str, answer: schedule_pb2.ImportSchedulesResponse) -> None:
        self._counts.update(
            added=answer.records_added,
            known=answer.records_known,
            workloads=answer.workloads_added,
            devices=answer.devices_added,
        )
        for item in answer.refused:
            self.refuse(source, item.line, _kind(item.kind), item.reason)

    def so_far(self) -> Imported:
        counts = {name: self._counts[name] for name in ("added", "known", "workloads", "devices")}
        return Imported(**counts, refused=tuple(self._refused), refused_by_kind=dict(self._kinds))


def _kind(wire: schedule_pb2.RefusalKind) -> RefusalKind:
    try:
        return RefusalKind(schedule_pb2.RefusalKind.Name(wire).removeprefix("REFUSAL_KIND_"))
    except ValueError:  # of a newer coordinator
        return RefusalKind.MALFORMED


def _batches(sources: Iterable[_Source], tally: _Tally) -> Iterator[_Batch]:
    """All items in order, as many in a batch as one transaction takes well. Raises _SourceFailed."""
    try:
        yield from _batched(sources, tally)
    except TunefarmError as error:
        raise _SourceFailed(error) from error


def _batched(sources: Iterable[_Source], tally: _Tally) -> Iterator[_Batch]:
    for source in sources:
        request, size = schedule_pb2.ImportSchedulesRequest(), 0

        def refuse(line: int, kind: RefusalKind, reason: str, name: str = source.name) -> None:
            tally.refuse(name, line, kind, reason)

        for line, item in source.items(refuse):
            bytes_more = item.ByteSize()
            if request.items and (len(request.items) >= _BATCH_ITEMS or size + bytes_more > _BATCH_BYTES):
                yield _Batch(source.name, request)
                request, size = schedule_pb2.ImportSchedulesRequest(), 0
            request.items.append(schedule_pb2.NumberedItem(line=line, item=item))
            size += bytes_more
        if request.items:
            yield _Batch(source.name, request)


def _delivered(
    calls: Calls,
    batches: Iterator[_Batch],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[_Batch, schedule_pb2.ImportSchedulesResponse]]:
    """Each batch with its answer, once it is durable. What was not answered when a stream broke is sent again."""
    waiting: collections.deque[_Batch] = collections.deque()
    outage = Outage(_OUTAGE_SECONDS, clock)
    while True:
        try:
            for answered in _over_one_stream(calls, batches, waiting):
                outage.over()
                yield answered
            return
        except Unreachable:
            raise
        except Unavailable as error:
            sleep(outage.next_pause(error))


def _over_one_stream(
    calls: Calls, batches: Iterator[_Batch], waiting: collections.deque[_Batch]
) -> Iterator[tuple[_Batch, schedule_pb2.ImportSchedulesResponse]]:
    outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for batch in waiting:
        outbox.put(batch.request)
    with contextlib.closing(calls.import_schedules(iter(outbox.get, None))) as answers:
        try:
            while True:
                while len(waiting) < _UNDER_WAY and (following := next(batches, None)) is not None:
                    waiting.append(following)
                    outbox.put(following.request)
                if not waiting:
                    return
                answer = next(answers, None)
                if answer is None:
                    raise Unavailable("the coordinator ended the import before its end: run it again")
                yield waiting.popleft(), answer
        finally:
            outbox.put(None)  # or the thread that sends would wait for more for ever
