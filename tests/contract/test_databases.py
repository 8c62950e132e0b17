"""Databases of TVM's MetaSchedule over a real server, channel and store; what replays them is a stand-in."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from tests.schedule_farm import NO_MODELS
from tests.unit.schedules.schedule_examples import ARM, DEVICES, PI_CLASS, X86, ZEN, ZEN_CLASS, record
from tunefarm.client import Client
from tunefarm.errors import InvalidInput
from tunefarm.metaschedule import RECORD_FILE, WORKLOAD_FILE, find_databases
from tunefarm.schedule_file import RefusalKind
from tunefarm.schedules import Imported
from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.compute.messages import AppendDatabase, ComputeFailed, ReadDatabase
from tunefarm_coordinator.control.database_import import MACHINE
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.references import References
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.fault_points import FaultPoints
from tunefarm_coordinator.models.log_lines import ReadRecord, ReadSlice, ReadWorkload, RefusedLine, Written
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddDevices,
    AddRecords,
    AddWorkloads,
    CandidateTrace,
    DeviceFacts,
    KnownWorkload,
)
from tunefarm_coordinator.schedules.device_class import device_class
from tunefarm_coordinator.schedules.record import Censored, Record, Source
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.databases import Databases
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.schedule import ScheduleService
from tunefarm_proto.v1 import schedule_pb2, schedule_pb2_grpc, tuning_pb2

Stub = schedule_pb2_grpc.ScheduleServiceStub
LINES = "a 1e-3 x86\nb 2e-3 x86\n"


class ReplayingCompute:
    """A record is a line "candidate seconds target"; "fatal" ends the process that reads it, "bad" is refused."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def ask(self, request: Any) -> Any:
        self.asked.append(request)
        if isinstance(request, AppendDatabase):
            return self._append(request)
        assert isinstance(request, ReadDatabase)
        lines = request.records.read_bytes()[request.offset :].splitlines(keepends=True)[: request.count]
        if any(line.startswith(b"fatal") for line in lines):
            raise ComputeFailed("read_database ended its process: SIGSEGV")
        read, refused = [], []
        for at, line in enumerate(lines, request.line):
            name, seconds, target = line.decode().split()
            if name == "bad":
                refused.append(RefusedLine(at, "it does not fit"))
            elif float(seconds) >= request.longest_seconds:
                refused.append(RefusedLine(at, "its time stands for a failure", sentinel=True))
            else:
                text = {"x86": X86, "arm": ARM}[target]
                read.append(ReadRecord(at, "5-w", "conv", text, name, f'["{name}"]', (float(seconds),)))
        workloads = (ReadWorkload("5-w", "conv", "{}", 1e6, ((1, 2),)),) if read else ()
        end = request.offset + sum(len(line) for line in lines)
        return ReadSlice(workloads, tuple(read), tuple(refused), len(lines), end)

    @staticmethod
    def _append(request: AppendDatabase) -> Written:
        if any("fatal" in trace for _, trace, _ in request.records):
            raise ComputeFailed("append_database ended its process: SIGSEGV")
        request.folder.mkdir(exist_ok=True)
        with (request.folder / RECORD_FILE).open("a") as file:
            file.writelines(f"{workload} {trace} {seconds}\n" for workload, trace, seconds in request.records)
        records = request.before.records + len(request.records)
        return replace(request.before, places=dict.fromkeys(request.modules, 0), records=records)


@dataclass
class Served:
    store: Store
    compute: ReplayingCompute
    stub: Stub
    address: str
    uploads: Path

    async def take(
        self, records: str = LINES, *, name: str = ZEN_CLASS, after: int = 0, **broken: Any
    ) -> list[schedule_pb2.ImportMetaScheduleResponse]:
        """`broken`: what of the stream is not as it should be."""
        data = (b"{}\n", records.encode())
        files = [tuning_pb2.FileHeader(size=len(one), sha256=hashlib.sha256(one).hexdigest()) for one in data]
        header = schedule_pb2.ImportMetaScheduleHeader(
            workloads=files[0], records=broken.get("header", files[1]), device_class=name, after_line=after
        )
        parts = [schedule_pb2.ImportMetaScheduleRequest(header=header)][: broken.get("headers", 1)]
        for index, one in enumerate(data):
            chunk = tuning_pb2.FileChunk(file=broken.get("file", index), data=one)
            parts.append(schedule_pb2.ImportMetaScheduleRequest(chunk=chunk))

        def answers() -> list[schedule_pb2.ImportMetaScheduleResponse]:
            # As the client does it: grpc.aio's own may take a refusal in the middle of a stream for a failure.
            with grpc.insecure_channel(self.address) as channel:
                return list(cast(Any, schedule_pb2_grpc).ScheduleServiceStub(channel).ImportMetaSchedule(iter(parts)))

        return await asyncio.to_thread(answers)

    async def refusal(self, records: str = LINES, **arguments: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as refused:
            await self.take(records, **arguments)
        error = cast(grpc.Call, refused.value)
        return error.code(), str(error.details())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        opened.write(DEVICES).result()
        yield opened


@pytest.fixture
async def served(store: Store, tmp_path: Path) -> AsyncIterator[Served]:
    folders, compute = Folders(tmp_path), ReplayingCompute()
    client, artifacts = cast(ComputeClient, compute), ArtifactStore(folders.artifacts)
    farm = FarmControl(1)
    services = Services(store, client, farm, artifacts, folders, FaultPoints(), References(client, artifacts))
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    service = ScheduleService(store, NO_MODELS, Databases(services))
    schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(service, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = schedule_pb2_grpc.ScheduleServiceStub(channel)
        yield Served(store, compute, stub, address, folders.uploads)
    await server.stop(None)
    assert not folders.uploads.exists() or list(folders.uploads.iterdir()) == []


def _records(store: Store) -> dict[str, Record]:
    return {found.identity: found for found in store.records(RecordFilter())}


# ---- in


async def test_records_come_in_as_those_of_a_device_that_does_not_exist(served: Served) -> None:
    (answer,) = await served.take("a 1e-3 x86\nbad 1 x86\nb 1e10 x86\nc 2e-3 x86\n")
    assert (answer.taken.records_added, answer.taken.workloads_added, answer.taken.devices_added) == (2, 1, 1)
    assert (answer.lines, answer.bytes) == (4, 43)
    kinds = {item.line: item.kind for item in answer.taken.refused}
    assert kinds == {2: schedule_pb2.REFUSAL_KIND_MALFORMED, 3: schedule_pb2.REFUSAL_KIND_SENTINEL_TIME}
    found = _records(served.store)
    assert {name: (one.seconds, one.source, one.created) for name, one in found.items()} == {
        "a": (1e-3, Source.IMPORTED, 0.0),
        "c": (2e-3, Source.IMPORTED, 0.0),
    }
    fingerprint = found["a"].device_fingerprint
    assert served.store.device_classes()[fingerprint] == ZEN_CLASS
    assert served.store.device_facts(fingerprint) == {**ZEN, "machine": MACHINE}
    (again,) = await served.take()
    assert (again.taken.records_known, again.taken.workloads_added, again.taken.devices_added) == (1, 0, 0)


async def test_lines_that_end_the_process_are_found_and_their_neighbours_kept(served: Served) -> None:
    lines = [f"c{number} 1e-3 x86" for number in range(300)]
    lines[77] = lines[78] = lines[250] = "fatal 1 x86"
    answers = await served.take("\n".join(lines) + "\n")
    refused = {item.line: item.reason for answer in answers for item in answer.taken.refused}
    assert refused.keys() == {78, 79, 251}
    assert "SIGSEGV" in refused[78]
    assert sum(answer.taken.records_added for answer in answers) == 297
    assert [answer.lines for answer in answers] == sorted(answer.lines for answer in answers)
    assert answers[-1].lines == 300
    assert len(served.compute.asked) < 60


async def test_a_database_that_mostly_ends_the_process_is_given_up(served: Served) -> None:
    code, said = await served.refusal("a 1e-3 x86\n" + "fatal 1 x86\n" * 100)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "another version of TVM" in said
    assert _records(served.store).keys() == {"a"}


async def test_what_was_answered_before_is_not_read_again(served: Served) -> None:
    (answer,) = await served.take(after=1)
    assert (answer.lines, answer.taken.records_added) == (2, 1)
    assert _records(served.store).keys() == {"b"}
    assert await served.take(after=2) == []


async def test_the_class_is_named_or_follows_from_the_store(served: Served) -> None:
    code, said = await served.refusal(name="")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "--class" in said
    assert ZEN_CLASS in said
    code, said = await served.refusal(name="v1:other")
    assert code is grpc.StatusCode.NOT_FOUND
    assert ZEN_CLASS in said
    served.store.write(AddRecords((record("own", device="zen-b"),))).result()
    (answer,) = await served.take(name="")
    assert answer.taken.records_added == 2
    served.store.write(AddRecords((record("own", device="pi"),))).result()
    code, said = await served.refusal(name="")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert PI_CLASS in said


async def test_a_target_of_another_kind_of_device_is_refused_line_by_line(served: Served) -> None:
    gpu = device_class({"gpu": "H100"})
    served.store.write(AddDevices((DeviceFacts("gpu", {"gpu": "H100"}),))).result()
    (answer,) = await served.take(name=gpu)
    assert [item.line for item in answer.taken.refused] == [1, 2]
    assert gpu in answer.taken.refused[0].reason
    assert _records(served.store) == {}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"headers": 0}, "header"),
        ({"header": tuning_pb2.FileHeader(size=1)}, RECORD_FILE),
        ({"header": tuning_pb2.FileHeader(size=1, sha256="0")}, "longer than its header"),
        ({"header": tuning_pb2.FileHeader(size=100, sha256="0")}, "did not arrive whole"),
        ({"header": tuning_pb2.FileHeader(size=1 << 50, sha256="0")}, "GiB"),
        ({"file": 7}, "out of order"),
    ],
)
async def test_a_broken_upload_is_refused_and_leaves_nothing(served: Served, broken: dict[str, Any], says: str) -> None:
    code, said = await served.refusal(**broken)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in said
    assert served.compute.asked == []


# ---- out


async def _given(served: Served, **wanted: str) -> tuple[schedule_pb2.MetaScheduleCounts, dict[str, bytes]]:
    counts, files, name = schedule_pb2.MetaScheduleCounts(), {}, ""
    async for part in served.stub.ExportMetaSchedule(schedule_pb2.ExportSchedulesRequest(**wanted)):
        if part.WhichOneof("part") == "counts":
            counts = part.counts
        elif part.chunk.WhichOneof("part") == "file":
            name = part.chunk.file.path
            files[name] = b""
        else:
            files[name] += part.chunk.data
    return counts, files


async def test_each_target_has_a_folder_and_what_is_left_out_is_counted(served: Served) -> None:
    known = KnownWorkload("5-w", "conv", '{"of": "w"}', 1e6, 5.0)
    records = [record(f"c{number}", 1e-3 * (number + 1), workload="5-w") for number in range(450)]
    records += [record("fatal", 0.9, workload="5-w")]
    records += [record("arm", workload="5-w", target=ARM, device="pi"), record("gone", workload="5-gone")]
    records += [record("slow", workload="5-w", outcome=Censored(1.0))]
    traces = [CandidateTrace("5-w", one.identity, f'["{one.identity}"]') for one in records]
    served.store.write(AddWorkloads((known,)), AddCandidates(tuple(traces)), AddRecords(tuple(records))).result()
    counts, files = await _given(served)
    assert (counts.records, counts.without_module, counts.unfit) == (451, 1, 1)
    folders = {of.target: of for of in counts.folders}
    assert {target: (of.records, list(of.device_classes)) for target, of in folders.items()} == {
        X86: (450, [ZEN_CLASS]),
        ARM: (1, [PI_CLASS]),
    }
    assert all(len(asked.records) <= 200 for asked in served.compute.asked)
    for target, of in folders.items():
        assert json.loads(files[f"{of.folder}/target.json"]) == json.loads(target)
        assert len(files[f"{of.folder}/{RECORD_FILE}"].splitlines()) == of.records
    assert folders[X86].folder.startswith("llvm-znver4-")
    counts, files = await _given(served, target=ARM)
    assert {name.split("/")[0] for name in files} == {folders[ARM].folder}


async def test_an_export_of_nothing_is_not_found(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _given(served)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    served.store.write(AddRecords((record("gone", workload="5-gone"),))).result()
    counts, files = await _given(served)
    assert (counts.records, counts.without_module, files) == (0, 1, {})


# ---- the client's side


def _database(folder: Path, records: str = LINES) -> Path:
    folder.mkdir(parents=True)
    (folder / WORKLOAD_FILE).write_text("{}\n")
    (folder / RECORD_FILE).write_text(records)
    return folder


def test_databases_are_found_in_folders_and_by_their_files(tmp_path: Path) -> None:
    one, two = _database(tmp_path / "all" / "one"), _database(tmp_path / "all" / "two" / "below")
    assert [found.path for found in find_databases([tmp_path])] == [one, two]
    assert [found.path for found in find_databases([one / RECORD_FILE, one / WORKLOAD_FILE, one])] == [one]
    (two / WORKLOAD_FILE).unlink()
    (one / "empty").mkdir()
    for path, says in (
        (tmp_path, f"{two / WORKLOAD_FILE} does not exist"),
        (tmp_path / "gone", "gone does not exist"),
        (one / "empty", f"no {RECORD_FILE}"),
    ):
        with pytest.raises(InvalidInput) as refused:
            find_databases([path])
        assert says in str(refused.value)


async def test_a_client_gives_and_takes_databases(served: Served, tmp_path: Path) -> None:
    one = _database(tmp_path / "all" / "one", LINES + "bad 1 x86\n")
    _database(tmp_path / "all" / "two", "c 1e-3 x86\n")
    told: list[tuple[Imported, int, int]] = []

    def use() -> None:
        with Client(served.address) as client:
            imported = client.schedules.import_metaschedule(
                tmp_path / "all", device_class=ZEN_CLASS, progress=lambda *now: told.append(now)
            )
            assert (imported.added, imported.workloads, imported.devices) == (3, 1, 1)
            assert [(item.source, item.line, item.kind) for item in imported.refused] == [
                (str(one / RECORD_FILE), 3, RefusalKind.MALFORMED)
            ]
            exported = client.schedules.export_metaschedule(tmp_path / "out", device_class=ZEN_CLASS)
            (folder,) = exported.folders
            assert (exported.records, folder.target, folder.device_classes) == (3, X86, (ZEN_CLASS,))
            assert len((folder.path / RECORD_FILE).read_text().splitlines()) == 3

    size = len(LINES + "bad 1 x86\n" + "c 1e-3 x86\n")
    await asyncio.to_thread(use)
    assert told[-1][1:] == (size, size)
