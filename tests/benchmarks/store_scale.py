"""The schedule store beside TVM's JSONDatabase on the same records, and alone at larger sizes.

    python tests/benchmarks/store_scale.py [--sizes 10000 100000 1000000] [--jsondatabase 100000] [--out FILE]

Records are those of jobs: kernels of `--workload-records` candidates each with a real trace of some kilobytes (a
generated schedule of a convolution, its tile sizes changed), one in a hundred verified and compared. Rows: opening the
store, the best schedule of one workload (a thousand different ones, one at a time, the store's caches cold and warm
alike), the best of all tasks of a model of 24, the commit of 10,000 records with their traces (durable: SQLite with
synchronous=FULL, as a coordinator has it; JSONDatabase does not sync), and the memory of a process that has it open.
Nothing else should run. JSONDatabase is asked what it answers: the best record of a workload, whatever the target.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
from machine import machine
from rich.console import Console
from rich.table import Table
from work_folder import add_work_option, work_folder

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

TARGET = '{"kind":"llvm","mcpu":"znver4","mtriple":"x86_64-linux-gnu","num-cores":2}'
FACTS = {"architecture": "x86_64", "cpu": "Zen 4", "cores": "2", "reserved_cores": "0,1"}
DEVICES = [DeviceFacts(f"zen-{at}", {**FACTS, "machine": str(at)}) for at in range(4)]
CLASS = device_class(FACTS)
BATCH = 10_000
LOOKUPS = 1000
TASKS_OF_A_MODEL = 24
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


def batches(first: int, count: int, each: int, trace: str) -> Iterator[list[Change]]:
    """Changes that add `count` records, the first of which has the number `first`; `each` to a workload."""
    instructions, decisions = json.loads(trace)
    for start in range(first, first + count, BATCH):
        dice = random.Random(start)
        records, candidates, verifications, comparisons = [], [], [], []
        for number in range(start, min(start + BATCH, first + count)):
            of, identity = workload(number // each), f"{number:064x}"
            own = json.dumps([instructions, [[at, [number % 97 + 1, *tile[1:]] if isinstance(tile, list) else tile]
                                             for at, tile in decisions]], separators=(",", ":"))  # fmt: skip
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


def measure_store(url: str, size: int, each: int, trace: str) -> dict[str, Any]:
    """Of a store that holds `size` records. Runs in a process of its own, so that its memory is its own."""
    before = psutil.Process().memory_info().rss
    opened: list[Store] = []
    found: dict[str, Any] = {"open": timed(lambda: opened.append(Store.open(url)))}
    store, dice = opened[0], random.Random(1)
    known = max(1, size // each)
    store.best(workload(0), TARGET, CLASS)
    lookups = [workload(dice.randrange(known)) for _ in range(LOOKUPS)]
    found["best"] = spread([timed(store.best, name, TARGET, CLASS) for name in lookups])
    models = [[workload(dice.randrange(known)) for _ in range(TASKS_OF_A_MODEL)] for _ in range(LOOKUPS // 10)]
    found["model"] = spread([timed(store.incumbents, names, TARGET, CLASS) for names in models])
    found["memory_mb"] = (psutil.Process().memory_info().rss - before) / 1e6
    (changes,) = batches(size, BATCH, each, trace)
    found["commit"] = timed(lambda: store.write(*changes).result())
    store.close()
    return found


def fill_store(url: str, held: int, size: int, each: int, trace: str) -> float:
    """Adds records up to `size`; seconds."""
    with Store.open(url) as store:
        store.write(AddDevices(tuple(DEVICES))).result()
        return timed(lambda: [store.write(*changes).result() for changes in batches(held, size - held, each, trace)])


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
    found["best"] = spread([timed(database.query_tuning_record, mod, target, "main") for mod in lookups])
    groups = [[modules[dice.randrange(len(modules))] for _ in range(TASKS_OF_A_MODEL)] for _ in range(LOOKUPS // 10)]

    def best_of(wanted: list[Any]) -> None:
        for mod in wanted:
            database.query_tuning_record(mod, target, "main")

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
        file = work / "store.db"
        _PROGRESS.print(f"{size:,} records")
        filling = fill_store(f"sqlite:///{file}", held, size, each, trace)
        row = in_own_process("--measure", "store", str(file), str(size), *options)
        # What is measured commits a batch of its own.
        results.append({"name": "tunefarm (SQLite)", "size": size, **row, "filled": (size - held) / filling,
                        "disk_mb": sum(path.stat().st_size for path in work.glob("store.db*")) / 1e6})  # fmt: skip
        held = size + BATCH
        if size <= given.jsondatabase:
            folder = work / f"jsondatabase-{size}"
            folder.mkdir()
            (folder / "trace.json").write_text(trace)
            row = in_own_process("--measure", "jsondatabase", str(folder), str(size), *options)
            disk = sum(path.stat().st_size for path in folder.glob("*.json")) / 1e6
            results.append({"name": "JSONDatabase", "size": size, **row, "disk_mb": disk})
        given.out.write_text(json.dumps({"machine": machine(), "trace_bytes": len(trace), "rows": results}, indent=2))
    show(results, len(trace))


def show(results: list[dict[str, Any]], trace_bytes: int) -> None:
    """The table."""
    table = Table(title=f"traces of {trace_bytes / 1024:.1f} KiB; milliseconds unless said", title_justify="left")
    for column in ("database", "records", "open", "best: median", "p99", f"of {TASKS_OF_A_MODEL} tasks: median", "p99"):
        table.add_column(column, justify="left" if column == "database" else "right")
    for column in ("commit of 10,000, s", "MB in memory", "MB on disk"):
        table.add_column(column, justify="right")
    for row in results:
        best, model = row["best"], row["model"]
        times = (row["open"], best["median"], best["p99"], model["median"], model["p99"])
        cells = [f"{seconds * 1e3:.3g}" for seconds in times]
        sizes = (f"{row['commit']:.2f}", f"{row['memory_mb']:.0f}", f"{row['disk_mb']:.0f}")
        table.add_row(row["name"], f"{row['size']:,}", *cells, *sizes)
    Console().print(table)


if __name__ == "__main__":
    main()
