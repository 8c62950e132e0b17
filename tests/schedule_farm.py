"""The real ScheduleService and store over real gRPC, without the rest of a coordinator.

In a test it serves from a thread; as a program (`python tests/schedule_farm.py serve ...`) it stands in for the
coordinator that an embedded client starts, or runs until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import sqlite3
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import grpc.aio

from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddDevices,
    AddRecords,
    AddWorkloads,
    CandidateTrace,
    DeviceFacts,
    KnownWorkload,
)
from tunefarm_coordinator.schedules.record import Censored, Failed, Measured, Record, facts_digest, new_record
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.databases import Databases
from tunefarm_coordinator.service.errors import ErrorInterceptor
from tunefarm_coordinator.service.found import FoundModels
from tunefarm_coordinator.service.schedule import ScheduleService
from tunefarm_proto.v1 import schedule_pb2_grpc

X86 = '{"kind":"llvm","mcpu":"znver4"}'
# Nothing here is asked about a model.
NO_MODELS = cast(FoundModels, None)
NO_DATABASES = cast(Databases, None)

ARM = '{"kind":"llvm","mcpu":"cortex-a72"}'


class ScheduleFarm:
    """Serves a store while it is entered."""

    def __init__(self, store: Store, port: int = 0) -> None:
        self.store = store
        self.address = ""
        self._port = port
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Breaks off what is under way. May be called again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 16 << 20)]
        server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=options)
        cast(Any, schedule_pb2_grpc).add_ScheduleServiceServicer_to_server(
            ScheduleService(self.store, NO_MODELS, NO_DATABASES), server
        )
        self.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{self._port}')}"
        await server.start()
        self._ready.set_result(None)
        await self._stop.wait()
        await server.stop(0)


def fill(store: Store, records: Sequence[Record]) -> None:
    """Writes records as a farm's own, with what they are of: a trace, a workload, a device."""
    names = {record.workload for record in records}
    workloads = [KnownWorkload(name, f"kernel {name}", json.dumps({"of": name}), 1e6, 5.0) for name in sorted(names)]
    traces = {(item.workload, item.identity): f'["trace of {item.workload} {item.identity}"]' for item in records}
    known = {found.fingerprint: found for found in (HERE, THERE)}
    devices = {record.device_fingerprint for record in records}
    store.write(
        AddDevices(tuple(known[name] for name in sorted(devices & known.keys()))),
        AddWorkloads(tuple(workloads)),
        AddCandidates(tuple(CandidateTrace(*name, trace) for name, trace in traces.items())),
        AddRecords(tuple(records)),
    ).result()


def device(name: str, **facts: str) -> DeviceFacts:
    """A device, with the fingerprint that an agent gives it."""
    known = {"architecture": "x86_64", "cpu": "Zen 4", "cores": "2", "machine": name, **facts}
    return DeviceFacts(facts_digest(known), known)


HERE, THERE = device("a"), device("b", architecture="aarch64", cpu="Cortex-A72")


def some_records(count: int, *, start: int = 0, workloads: int = 7) -> list[Record]:
    """Records of two targets and two device classes; of ten, eight are measured, one censored, one failed."""
    made = []
    for number in range(start, start + count):
        arm = number % 3 == 0
        outcomes: dict[int, Any] = {8: Censored(0.5), 9: Failed("RUN_ERROR", f"SIGSEGV {number}")}
        made.append(
            new_record(
                workload=f"5-w{number % workloads}",
                target=ARM if arm else X86,
                identity=f"c{number % 50}",
                device_fingerprint=(THERE if arm else HERE).fingerprint,
                outcome=outcomes.get(number % 10) or Measured((1e-3 + number * 1e-7, 2e-3)),
                created=1.7e9 + number / 7,
                project="vision" if number % 2 else "audio",
                job_id="j1",
                task_name="conv",
            )
        )
    return made


def contents(store: Store) -> dict[str, Any]:
    """Rows and views of a store, as far as they can be compared with another's."""
    records = store.records(RecordFilter(), limit=1_000_000)
    workloads = sorted({record.workload for record in records})
    fingerprints = sorted({record.device_fingerprint for record in records})
    classes = store.device_classes()
    return {
        "records": records,
        "traces": store.traces_of(records),
        "workloads": store.workloads(workloads),
        "devices": {known.fingerprint: known for known in store.devices(fingerprints)},
        "classes": {name: classes.get(name) for name in fingerprints},
        "best": {
            (target, name): store.incumbents(workloads, target, name)
            for target in sorted({record.target for record in records})
            for name in sorted(set(classes.values()))
        },
    }


def rows(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What a SQLite store's file holds of schedules, row for row; without the numbers of devices."""
    tables = {
        "records": "*",
        "candidates": "*",
        "workloads": "*",
        "targets": "*",
        "verifications": "*",
        "comparisons": "*",
        "devices": "fingerprint, facts",
    }
    with sqlite3.connect(database) as connection:
        return {
            name: sorted(connection.execute(f"SELECT {columns} FROM {name}").fetchall(), key=repr)
            for name, columns in tables.items()
        }


# ---- as a program


def _main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("serve",))
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--data-dir", required=True, type=Path)
    parser.add_argument("--leave-interrupted", action="store_true")
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--lifeline-fd", type=int)
    arguments = parser.parse_args()
    arguments.data_dir.mkdir(parents=True, exist_ok=True)
    port = int(arguments.listen.rpartition(":")[2])
    with Store.open(f"sqlite:///{arguments.data_dir}/tunefarm.db") as store, ScheduleFarm(store, port) as farm:
        print(farm.address, flush=True)
        if arguments.ready_fd is not None:
            with os.fdopen(arguments.ready_fd, "w") as ready:
                ready.write(json.dumps({"address": farm.address}) + "\n")
        if arguments.lifeline_fd is None:
            threading.Event().wait()
        while not (select.select([arguments.lifeline_fd], [], [], 1.0)[0] and not os.read(arguments.lifeline_fd, 1)):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(_main())
