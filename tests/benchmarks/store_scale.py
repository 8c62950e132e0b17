"""The schedule store beside TVM's JSONDatabase on the same records, and alone at larger sizes.

    python tests/benchmarks/store_scale.py [--sizes 10000 100000 1000000] [--jsondatabase 100000] [--out FILE]

Records are those of jobs: kernels of `--workload-records` candidates each with a real trace of some kilobytes (a
generated schedule of a convolution, its tile sizes changed), one in a hundred verified and compared. Measured are

- opening the store;
- the best schedule of one workload, one at a time: a thousand as the disk has them, then twice as many, of which every
  second one is for the A/A ratio (JSONDatabase is asked what it answers: the best of a workload, whatever the target);
- the best of all tasks of a model of 24;
- the commit of 10,000 records with their traces (durable: SQLite with synchronous=FULL, as a coordinator has it;
  JSONDatabase does not sync);
- the import of as many from a file: by the SDK, over gRPC, into a coordinator in another process, every line checked;
- the memory of a process that has the store open.

Nothing else should run. The store is filled by the statements that it writes with itself, in one connection that
neither syncs nor keeps a log, and traces that are alike are packed once: 10,000,000 records take half an hour and 25 GB
of disk.
"""

import argparse
import functools
import json
import random
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
import sqlalchemy as sa
from interleaved import ratio
from machine import machine
from rich.console import Console
from rich.table import Table
from work_folder import add_work_option, work_folder

from tunefarm import Client
from tunefarm.schedule_file import ScheduleWriter
from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.apply import apply
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddComparison,
    AddDevices,
    AddRecords,
    AddVerifications,
    CandidateTrace,
    Change,
    DeviceFacts,
)
from tunefarm_coordinator.schedules.device_class import device_class
from tunefarm_coordinator.schedules.record import Measured, new_comparison, new_record, new_verification
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.schedule_messages import device_item, record_message
from tunefarm_proto.v1 import schedule_pb2

TARGET = '{"kind":"llvm","mcpu":"znver4","mtriple":"x86_64-linux-gnu","num-cores":2}'
FACTS = {"architecture": "x86_64", "cpu": "Zen 4", "cores": "2", "reserved_cores": "0,1"}
DEVICES = [DeviceFacts(f"zen-{at}", {**FACTS, "machine": str(at)}) for at in range(4)]
CLASS = device_class(FACTS)
BATCH = 10_000
LOOKUPS = 1000
TASKS_OF_A_MODEL = 24
# Of memory, while a store is filled: the index of record ids, which come in no order, should fit in.
FILLING_CACHE_KIB = 2 << 20
SERVING = Path(__file__).parents[1] / "schedule_farm.py"
_PROGRESS = Console(stderr=True)

Row = tuple[int, str, CandidateTrace]


def kernel(number: int) -> Any:
    """A convolution that differs from others by a constant, as an IRModule."""
    import tvm
    from tvm import te, topi

    image = te.placeholder((1, 28, 28, 64), name="image")
    weight = te.placeholder((3, 3, 64, 64), name="weight")
    convolved = topi.nn.relu(topi.nn.conv(image, weight, 1, 1, 1, 1, "NHWC", "HWIO"))
    scaled = topi.multiply(convolved, tvm.tirx.const(1.0 + number, "float32"))
    function = te.create_prim_func([image, weight, scaled]).with_attr("global_symbol", "main")
    return tvm.IRModule({"main": function})


def a_trace() -> str:
    """A generated schedule of it, as search proposes one."""
    import tvm

    from tunefarm_coordinator.engines.engine import engine

    module = str(tvm.ir.save_json(kernel(0)))
    return engine("autoscheduler").open("w", module, TARGET, 1).propose(4, None)[-1].trace


def workload(number: int) -> str:
    return f"5-{number:016x}"


@functools.cache
def tiled(trace: str, outermost: int) -> str:
    """The trace with another size of its tiles."""
    instructions, decisions = json.loads(trace)
    changed = [[at, [outermost, *tile[1:]] if isinstance(tile, list) else tile] for at, tile in decisions]
    return json.dumps([instructions, changed], separators=(",", ":"))


@functools.cache
def packed(trace: str) -> bytes:
    """As the store keeps it."""
    return zlib.compress(trace.encode())


def batches(first: int, count: int, each: int, trace: str) -> Iterator[list[Change]]:
    """Changes that add `count` records, the first of which has the number `first`; `each` to a workload."""
    for start in range(first, first + count, BATCH):
        dice = random.Random(start)
        records, candidates, verifications, comparisons = [], [], [], []
        for number in range(start, min(start + BATCH, first + count)):
            of, identity = workload(number // each), f"{number:064x}"
            own = tiled(trace, number % 97 + 1)
            seconds = dice.lognormvariate(-8, 0.5)
            samples = tuple(seconds * dice.uniform(0.98, 1.02) for _ in range(10))
            device, created = DEVICES[number % len(DEVICES)].fingerprint, 1.7e9 + number
            facts: dict[str, Any] = {"workload": of, "target": TARGET, "device_fingerprint": device, "created": created}
            candidates.append(CandidateTrace(of, identity, own))
            records.append(
                new_record(identity=identity, outcome=Measured(samples), job_id=f"job-{number // 500}", **facts)
            )
            if number % 100 == 0:
                verifications.append(new_verification(identity=identity, ok=True, **facts))
                comparisons.append(new_comparison(results=((identity, Measured(samples[:3])),), **facts))
        yield [
            AddCandidates(tuple(candidates)),
            AddRecords(tuple(records)),
            AddVerifications(tuple(verifications)),
            *(AddComparison(comparison) for comparison in comparisons),
        ]


def timed(call: Callable[..., object], *arguments: object) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile."""
    cuts = quantiles(seconds, n=100)
    return {"median": median(seconds), "p95": cuts[94], "p99": cuts[98]}


def looked_up(best: Callable[[Any], object], lookups: list[Any]) -> dict[str, Any]:
    """The lookups a first time, and then twice, forwards and in turn with it backwards."""
    at_first = spread([timed(best, name) for name in lookups])
    pairs = [(timed(best, name), timed(best, late)) for name, late in zip(lookups, reversed(lookups), strict=True)]
    one, other = zip(*pairs, strict=True)
    return {"best_at_first": at_first, "best": spread(list(one)), "again": vars(ratio(list(one), list(other)))}


def measure_store(url: str, size: int, each: int, trace: str) -> dict[str, Any]:
    """Of a store that holds `size` records. Runs in a process of its own, so that its memory is its own."""
    before = psutil.Process().memory_info().rss
    opened: list[Store] = []
    found: dict[str, Any] = {"open": timed(lambda: opened.append(Store.open(url)))}
    store, dice = opened[0], random.Random(1)
    known = max(1, size // each)
    store.best(workload(0), TARGET, CLASS)
    lookups = [workload(dice.randrange(known)) for _ in range(LOOKUPS)]
    found |= looked_up(lambda name: store.best(name, TARGET, CLASS), lookups)
    models = [[workload(dice.randrange(known)) for _ in range(TASKS_OF_A_MODEL)] for _ in range(LOOKUPS // 10)]
    found["model"] = spread([timed(store.incumbents, names, TARGET, CLASS) for names in models])
    found["memory_mb"] = (psutil.Process().memory_info().rss - before) / 1e6
    (changes,) = batches(size, BATCH, each, trace)
    found["commit"] = timed(lambda: store.write(*changes).result())
    store.close()
    return found


def fill_store(file: Path, held: int, size: int, each: int, trace: str) -> float:
    """Adds records up to `size`; seconds. A power cut would cost the file, which is made again then."""
    with Store.open(f"sqlite:///{file}") as store:
        store.write(AddDevices(tuple(DEVICES))).result()
    engine = sa.create_engine(f"sqlite:///{file}")

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = {-FILLING_CACHE_KIB}"):
            connection.execute(f"PRAGMA {setting}")

    sa.event.listen(engine, "connect", prepare)
    started = time.perf_counter()
    with engine.connect() as connection:
        for changes in batches(held, size - held, each, trace):
            with connection.begin():
                for change in changes:
                    add(change, connection)
    engine.dispose()
    return time.perf_counter() - started


def add(change: Change, connection: sa.Connection) -> None:
    """Writes the change as the store does, but packs traces that are alike once."""
    if not isinstance(change, AddCandidates):
        apply(change, connection)
        return
    rows = [
        {"workload": of.workload, "identity": of.identity, "trace": packed(of.trace), "imported": False}
        for of in change.candidates
    ]
    connection.execute(sa.insert(tables.candidates), rows)


def measure_import(folder: Path, first: int, each: int, trace: str) -> float:
    """Records a second that come in from a file of BATCH records which the store, in this folder, has not."""
    exported = folder / "import.jsonl"
    with ScheduleWriter(exported) as writer:
        for device in DEVICES:
            writer.write(device_item(device))
        for changes in batches(first, BATCH, each, trace):
            for record in next(change.records for change in changes if isinstance(change, AddRecords)):
                own = tiled(trace, int(record.identity, 16) % 97 + 1)
                writer.write(schedule_pb2.ScheduleItem(record=record_message(record, own)))
    command = [sys.executable, str(SERVING), "serve", "--data-dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        with Client(serving.stdout.readline().strip()) as client:
            started = time.perf_counter()
            taken = client.schedules.import_from(exported)
            seconds = time.perf_counter() - started
        serving.terminate()
    if taken.added != BATCH:
        raise SystemExit(f"of {BATCH:,} records {taken.added:,} came in: {taken}")
    return BATCH / seconds


def measure_jsondatabase(folder: Path, size: int, each: int, trace: str) -> dict[str, Any]:
    """TVM's own database, the same records: as many workloads, which differ in a constant."""
    from tvm.s_tir import meta_schedule as ms
    from tvm.target import Target

    from tunefarm_coordinator.engines import trace_text

    modules = [kernel(number) for number in range(max(1, size // each))]
    target = Target(TARGET)
    plain = trace_text.replay(modules[0], trace, target).trace
    files = (str(folder / "workload.json"), str(folder / "record.json"))
    dice = random.Random(0)

    def commit(database: Any, first: int, count: int) -> None:
        for number in range(first, first + count):
            committed = database.commit_workload(modules[min(number // each, len(modules) - 1)])
            record = ms.database.TuningRecord(plain, committed, [dice.lognormvariate(-8, 0.5)] * 10, target)
            database.commit_tuning_record(record)

    filling = ms.database.JSONDatabase(*files)
    commit(filling, 0, size)
    del filling
    before = psutil.Process().memory_info().rss
    opened: list[Any] = []
    found: dict[str, Any] = {"open": timed(lambda: opened.append(ms.database.JSONDatabase(*files)))}
    database = opened[0]
    lookups = [modules[dice.randrange(len(modules))] for _ in range(LOOKUPS)]

    def best(mod: Any) -> None:
        database.query_tuning_record(mod, target, "main")

    found |= looked_up(best, lookups)
    groups = [[modules[dice.randrange(len(modules))] for _ in range(TASKS_OF_A_MODEL)] for _ in range(LOOKUPS // 10)]

    def best_of(wanted: list[Any]) -> None:
        for mod in wanted:
            best(mod)

    found["model"] = spread([timed(best_of, mods) for mods in groups])
    found["memory_mb"] = (psutil.Process().memory_info().rss - before) / 1e6
    found["commit"] = timed(lambda: commit(database, size, BATCH))
    return found


def in_own_process(*arguments: str) -> dict[str, Any]:
    """One measurement by this program in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, check=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--jsondatabase", type=int, default=100_000, help="largest size that it is tried with; 0: none")
    parser.add_argument("--workload-records", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("store_scale.json"))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS, metavar=("KIND", "WHERE", "SIZE"))
    add_work_option(parser)
    given = parser.parse_args()
    each = given.workload_records
    if given.measure:
        kind, where, size = given.measure
        trace = (Path(where).parent if kind == "store" else Path(where)).joinpath("trace.json").read_text()
        answer = (
            measure_store(f"sqlite:///{where}", int(size), each, trace)
            if kind == "store"
            else measure_jsondatabase(Path(where), int(size), each, trace)
        )
        print(json.dumps(answer))
        return
    work = work_folder(parser, given.work)
    trace = a_trace()
    (work / "trace.json").write_text(trace)
    results = []
    held, options = 0, ("--workload-records", str(each))
    for size in sorted(given.sizes):
        file = work / "tunefarm.db"
        _PROGRESS.print(f"{size:,} records")
        filling = fill_store(file, held, size, each, trace)
        row = in_own_process("--measure", "store", str(file), str(size), *options)
        row["import"] = measure_import(work, size + BATCH, each, trace)
        results.append({"name": "tunefarm (SQLite)", "size": size, **row, "filled": (size - held) / filling,
                        "disk_mb": sum(path.stat().st_size for path in work.glob("tunefarm.db*")) / 1e6,
                        "fsync": "WAL, synchronous=FULL"})  # fmt: skip
        held = size + 2 * BATCH  # what is measured adds two batches
        if size <= given.jsondatabase:
            folder = work / f"jsondatabase-{size}"
            folder.mkdir()
            (folder / "trace.json").write_text(trace)
            row = in_own_process("--measure", "jsondatabase", str(folder), str(size), *options)
            disk = sum(path.stat().st_size for path in folder.glob("*.json")) / 1e6
            results.append({"name": "JSONDatabase", "size": size, **row, "disk_mb": disk, "fsync": "none"})
        given.out.write_text(json.dumps({"machine": machine(), "trace_bytes": len(trace), "rows": results}, indent=2))
    show(results, len(trace))


def show(results: list[dict[str, Any]], trace_bytes: int) -> None:
    """The table."""
    synced = "; ".join(f"{name}: {fsync}" for name, fsync in {row["name"]: row["fsync"] for row in results}.items())
    title = f"traces of {trace_bytes / 1024:.1f} KiB; milliseconds unless said; synced: {synced}"
    table = Table(title=title, title_justify="left")
    best = ("best at first: median", "p99", "best: median", "p99", "A/A")
    model = (f"of {TASKS_OF_A_MODEL} tasks: median", "p99")
    for column in ("database", "records", "open", *best, *model):
        table.add_column(column, justify="left" if column == "database" else "right")
    for column in ("commit of 10,000, s", "import, records/s", "MB in memory", "MB on disk"):
        table.add_column(column, justify="right")
    for row in results:
        again, imported = row["again"], row.get("import")
        cells = [
            f"{row['open'] * 1e3:.3g}",
            *(f"{row[what][of] * 1e3:.3g}" for what in ("best_at_first", "best") for of in ("median", "p99")),
            f"{again['median']:.3f} [{again['low']:.3f}, {again['high']:.3f}]",
            *(f"{row['model'][of] * 1e3:.3g}" for of in ("median", "p99")),
            f"{row['commit']:.2f}",
            "" if imported is None else f"{imported:,.0f}",
            *(f"{row[what]:.0f}" for what in ("memory_mb", "disk_mb")),
        ]
        table.add_row(row["name"], f"{row['size']:,}", *cells)
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
