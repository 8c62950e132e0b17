"""Databases of TVM's MetaSchedule (JSONDatabase), to a coordinator and from it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from tunefarm.calls import Calls
from tunefarm.errors import BrokenTransfer, InvalidInput, Unavailable, Unreachable
from tunefarm.model_files import ModelFile
from tunefarm.transfer import CHUNK_BYTES, header_of, save_package
from tunefarm.watching import Outage
from tunefarm_proto.v1 import schedule_pb2, tuning_pb2

WORKLOAD_FILE = "database_workload.json"
RECORD_FILE = "database_tuning_record.json"
_OUTAGE_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class DatabaseFolder:
    """A folder with a database's two files. `size` of the records' in bytes."""

    path: Path
    size: int

    @property
    def records(self) -> Path:
        """The file of its records."""
        return self.path / RECORD_FILE


@dataclasses.dataclass(frozen=True)
class ExportedFolder:
    """A database that was written. `target`: TVM's JSON; `device_classes`: whose times are in it."""

    path: Path
    target: str
    records: int
    workloads: int
    device_classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ExportedDatabases:
    """What was written below `path`, and what was left out.

    Attributes:
        other_algorithm: records of another algorithm than the kernel's own: TVM has no trace of them.
        without_module: records of kernels whose IR the store does not have.
        unfit: records without a trace, or with one that no longer fits its kernel.
    """

    path: Path
    records: int
    other_algorithm: int
    without_module: int
    unfit: int
    folders: tuple[ExportedFolder, ...]


def find_databases(paths: Sequence[Path]) -> list[DatabaseFolder]:
    """The databases in these folders and all folders below them, in the order of their names.

    Raises InvalidInput: no such folder, one without a database, a file of records without its workloads.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob(RECORD_FILE))
            if not inside:
                raise InvalidInput(f"no {RECORD_FILE} in {path}, or in a folder below it")
        elif path.is_file() and path.name in (WORKLOAD_FILE, RECORD_FILE):
            inside = [path.with_name(RECORD_FILE)]
        else:
            wrong = "is none of them" if path.exists() else "does not exist"
            raise InvalidInput(f"a database of MetaSchedule is {WORKLOAD_FILE} and {RECORD_FILE}, and {path} {wrong}")
        found += inside
    for records in found:
        for file in (records.with_name(WORKLOAD_FILE), records):
            if not file.is_file():
                raise InvalidInput(f"{file} does not exist: a database is {WORKLOAD_FILE} and {RECORD_FILE} together")
    return [DatabaseFolder(records.parent, records.stat().st_size) for records in dict.fromkeys(found)]


def delivered(
    calls: Calls,
    database: DatabaseFolder,
    device_class: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[schedule_pb2.ImportMetaScheduleResponse]:
    """What came of the database, slice by slice. A stream that breaks off is opened again, behind what was answered."""
    files = [ModelFile(database.path / name, name) for name in (WORKLOAD_FILE, RECORD_FILE)]
    workloads, records = header_of(files)
    header = schedule_pb2.ImportMetaScheduleHeader(workloads=workloads, records=records, device_class=device_class)
    outage = Outage(_OUTAGE_SECONDS, time.monotonic)
    while True:
        try:
            with contextlib.closing(calls.import_metaschedule(_parts(files, header))) as answers:
                for answer in answers:
                    outage.over()
                    header.after_line = answer.lines
                    yield answer
            return
        except Unreachable:
            raise
        except Unavailable as error:
            sleep(outage.next_pause(error))


def _parts(
    files: Sequence[ModelFile], header: schedule_pb2.ImportMetaScheduleHeader
) -> Iterator[schedule_pb2.ImportMetaScheduleRequest]:
    yield schedule_pb2.ImportMetaScheduleRequest(header=header)
    for index, file in enumerate(files):
        with file.source.open("rb") as stream:
            offset = 0
            while data := stream.read(CHUNK_BYTES):
                chunk = tuning_pb2.FileChunk(file=index, offset=offset, data=data)
                yield schedule_pb2.ImportMetaScheduleRequest(chunk=chunk)
                offset += len(data)


def exported(
    calls: Calls,
    wanted: schedule_pb2.ExportSchedulesRequest,
    folder: Path,
    progress: Callable[[int], None] | None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> ExportedDatabases:
    """Has the databases written, and puts them below `folder`; from the start again when the connection breaks.

    `progress` is told how many records were written. Raises as `save_package`, and InvalidInput, NotFound.
    """
    outage = Outage(_OUTAGE_SECONDS, time.monotonic)
    while True:
        try:
            with contextlib.closing(calls.export_metaschedule(wanted)) as parts:
                return _saved(parts, folder, progress)
        except Unreachable:
            raise
        except Unavailable as error:
            sleep(outage.next_pause(error))


def _saved(
    parts: Generator[schedule_pb2.ExportedMetaSchedule], folder: Path, progress: Callable[[int], None] | None
) -> ExportedDatabases:
    counts = schedule_pb2.MetaScheduleCounts()
    for part in parts:
        if part.WhichOneof("part") == "counts":
            counts = part.counts
            if progress is not None:
                progress(counts.records)
            continue
        save_package(_chunks(part, parts), folder)
        break
    else:
        if counts.records:
            raise BrokenTransfer("the coordinator sent none of the databases that it wrote: export them again")
    return ExportedDatabases(
        path=folder,
        records=counts.records,
        other_algorithm=counts.other_algorithm,
        without_module=counts.without_module,
        unfit=counts.unfit,
        folders=tuple(
            ExportedFolder(folder / of.folder, of.target, of.records, of.workloads, tuple(of.device_classes))
            for of in counts.folders
        ),
    )


def _chunks(
    first: schedule_pb2.ExportedMetaSchedule, rest: Generator[schedule_pb2.ExportedMetaSchedule]
) -> Iterator[tuning_pb2.PackageChunk]:
    yield first.chunk
    for part in rest:
        yield part.chunk
