"""MetaSchedule databases on the wire: files in, what came of them out; and the other way round."""

from collections.abc import AsyncIterator

from tunefarm_coordinator.control.database_export import DatabaseExport, OfTarget, counted
from tunefarm_coordinator.control.database_import import DatabaseFiles, DatabaseImport
from tunefarm_coordinator.control.library import LARGEST_MODEL_BYTES, Chunk, ModelFile, receive
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.log_lines import RECORD_FILE, WORKLOAD_FILE
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.service.exchange import Intake
from tunefarm_coordinator.service.packages import package_chunks
from tunefarm_coordinator.service.schedule_messages import refusal
from tunefarm_proto.v1 import schedule_pb2, tuning_pb2

_Requests = AsyncIterator[schedule_pb2.ImportMetaScheduleRequest]


class Databases:
    """The part of ScheduleService that is about databases of TVM's MetaSchedule."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def take(self, requests: _Requests) -> AsyncIterator[schedule_pb2.ImportMetaScheduleResponse]:
        """See schedule.proto."""
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidInput("the first message of a database is its header")
        files = _files(first.header)
        async with self._services.folders.scratch("database-") as folder:
            await receive(folder, files, _chunks(requests))
            database = DatabaseFiles(*(folder / file.path for file in files))
            reading = DatabaseImport(self._services, database, first.header.device_class)
            intake = Intake(self._services.store)
            async for part in reading.slices(first.header.after_line):
                refused = [refusal(line, error) for line, error in part.refused]
                taken = await intake.take_offers(part.offers, refused)
                yield schedule_pb2.ImportMetaScheduleResponse(taken=taken, lines=part.lines, bytes=part.bytes)

    async def give(
        self, request: schedule_pb2.ExportSchedulesRequest
    ) -> AsyncIterator[schedule_pb2.ExportedMetaSchedule]:
        """See schedule.proto."""
        wanted = RecordFilter(
            workload=request.workload,
            target=request.target,
            device_class=request.device_class,
            project=request.project,
        )
        async with self._services.folders.scratch("databases-") as folder:
            async for databases in DatabaseExport(self._services, wanted).write(folder):
                yield schedule_pb2.ExportedMetaSchedule(counts=_counts(databases))
            async for chunk in package_chunks(folder):
                yield schedule_pb2.ExportedMetaSchedule(chunk=chunk)


def _files(header: schedule_pb2.ImportMetaScheduleHeader) -> tuple[ModelFile, ModelFile]:
    for name, file in ((WORKLOAD_FILE, header.workloads), (RECORD_FILE, header.records)):
        if not file.sha256:
            raise InvalidInput(f"the header does not say size and digest of {name}")
    if header.workloads.size + header.records.size > LARGEST_MODEL_BYTES:
        raise InvalidInput(f"the database is larger than {LARGEST_MODEL_BYTES >> 30} GiB: import it in parts")
    return _file(WORKLOAD_FILE, header.workloads), _file(RECORD_FILE, header.records)


def _file(name: str, header: tuning_pb2.FileHeader) -> ModelFile:
    return ModelFile(name, header.size, header.sha256)


async def _chunks(requests: _Requests) -> AsyncIterator[Chunk]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidInput("a database has one header, and chunks after it")
        yield Chunk(request.chunk.file, request.chunk.offset, request.chunk.data)


def _counts(databases: tuple[OfTarget, ...]) -> schedule_pb2.MetaScheduleCounts:
    total = counted(databases)
    return schedule_pb2.MetaScheduleCounts(
        records=total["records"],
        other_algorithm=total["other_algorithm"],
        without_module=total["without_module"],
        unfit=total["unfit"],
        folders=[
            schedule_pb2.MetaScheduleFolder(
                folder=of.folder,
                target=of.target,
                records=of.written.records,
                workloads=len(of.written.places),
                device_classes=sorted(of.classes),
            )
            for of in databases
            if of.written.records
        ],
    )
