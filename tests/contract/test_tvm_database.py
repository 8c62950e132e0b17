"""The store as a database of TVM's: real schedules, real passes, over the wire."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tvm
import tvm_ffi
from tvm import relax, te
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.schedule_farm import HERE, THERE, ScheduleFarm, device
from tunefarm import Client, errors
from tunefarm_coordinator.engines import programs, trace_text
from tunefarm_coordinator.models.tasks import kernels_of, workload_of
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddDevices,
    AddRecords,
    AddWorkloads,
    CandidateTrace,
    KnownWorkload,
)
from tunefarm_coordinator.schedules.record import Failed, Measured, new_record
from tunefarm_coordinator.schedules.store import Store

X86 = {"kind": "llvm", "mcpu": "znver4", "mtriple": "x86_64-linux-gnu", "num-cores": 2}
ARM = {"kind": "llvm", "mcpu": "cortex-a72", "mattr": ["+neon"], "mtriple": "aarch64-linux-gnu", "num-cores": 4}


def stored_module() -> Any:
    """A Relax module that calls one kernel."""
    a, b = (te.placeholder((32, 32), name=name) for name in "ab")
    k = te.reduce_axis((0, 32), name="k")
    product = te.compute((32, 32), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="product")
    builder = relax.BlockBuilder()
    kernel = builder.add_func(te.create_prim_func([a, b, product]).without_attr("global_symbol"), "product")
    x, y = (relax.Var(name, relax.TensorType((32, 32), "float32")) for name in "xy")
    with builder.function("main", [x, y]):
        out = builder.emit(relax.call_tir(kernel, (x, y), relax.TensorType((32, 32), "float32")))
        builder.emit_func_output(out)
    return builder.finalize()


MODULE = stored_module()
(KERNEL,) = [kernel.module for kernel in kernels_of(MODULE)]


def split(factor: int, program: str = "") -> str:
    """A trace; of another program than the kernel's own where one is named."""
    schedule = Schedule(KERNEL)
    if program:
        schedule.annotate(schedule.get_sblock("root"), programs.MARK, program)
    rows, _, _ = schedule.get_loops(schedule.get_sblock("product"))
    outer, _ = schedule.split(rows, [None, factor])
    schedule.parallel(outer)
    return trace_text.encode(schedule.trace)


# Candidates by name. The fastest ones are not for stock TVM.
TRACES = {
    "other": split(8, program="winograd 2x2"),
    "unfit": split(8).replace("product", "sum"),
    "two": split(2),
    "four": split(4),
    "sixteen": split(16),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        workload = workload_of(KERNEL)
        measured = [
            ("other", X86, HERE, 1e-6),
            ("unfit", X86, HERE, 2e-6),
            ("two", X86, HERE, 9e-6),
            ("four", X86, HERE, 3e-6),
            ("four", X86, HERE, 4e-6),
            ("sixteen", ARM, THERE, 1e-7),
        ]
        records = [
            new_record(
                workload=workload,
                target=json.dumps(target),
                identity=identity,
                device_fingerprint=where.fingerprint,
                outcome=Measured((seconds,)),
                created=1.7e9,
            )
            for identity, target, where, seconds in measured
        ]
        failed = new_record(
            workload=workload,
            target=json.dumps(X86),
            identity="two",
            device_fingerprint=HERE.fingerprint,
            outcome=Failed("RUN_ERROR", "SIGSEGV"),
            created=1.7e9,
        )
        store.write(
            AddDevices((HERE, THERE)),
            AddWorkloads((KnownWorkload(workload, "product", str(tvm.ir.save_json(KERNEL)), 1e6, 5.0),)),
            AddCandidates(tuple(CandidateTrace(workload, name, trace) for name, trace in TRACES.items())),
            AddRecords((*records, failed)),
        ).result()
        yield store


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    with ScheduleFarm(store) as farm, Client(farm.address) as client:
        yield client


def scheduled(name: str) -> Any:
    return trace_text.replay(KERNEL, TRACES[name], Target(X86)).mod


def applied(database: Any, target: dict[str, Any]) -> Any:
    """The kernel after stock TVM's pass; None: it was not scheduled."""
    with Target(target), database:
        module = relax.transform.MetaScheduleApplyDatabase(enable_warning=False)(MODULE)
    function = module["product"]
    return function if function.attrs.get("tirx.is_scheduled") else None


def test_stock_passes_take_the_best_schedule_that_they_can_replay(client: Client) -> None:
    database = client.schedules.database(X86)
    assert isinstance(database, ms.database.Database)
    kernel = applied(database, X86)
    assert kernel is not None
    assert_same(kernel, scheduled("four")["main"])
    assert_same(database.query_schedule(KERNEL, Target(X86), "product").mod["main"], scheduled("four")["main"])


def assert_same(function: Any, other: Any) -> None:
    """But for the attributes: a pass writes some."""
    assert tvm_ffi.structural_equal(function.body, other.body, map_free_vars=True)


def test_each_target_has_its_own_records(client: Client) -> None:
    x86, arm = client.schedules.database(X86), client.schedules.database(json.dumps(ARM))
    assert_same(applied(arm, ARM), scheduled("sixteen")["main"])
    assert applied(x86, ARM) is None
    assert applied(arm, X86) is None
    assert [len(database) for database in (x86, arm)] == [5, 1]
    assert arm.query_tuning_record(KERNEL, Target(X86), "product") is None
    assert [str(record.target) for record in arm.get_all_tuning_records()] == [str(Target(ARM))]


def test_a_target_may_be_written_otherwise(client: Client) -> None:
    said = {**X86, "mtriple": "x86_64-unknown-linux-gnu"}
    database = client.schedules.database(Target(said, host=Target("llvm")))
    assert applied(database, said) is not None
    assert applied(database, {**X86, "mcpu": "znver3"}) is None


def test_top_is_the_best_one_and_then_by_time(client: Client) -> None:
    database = client.schedules.database(X86)
    workload = database.commit_workload(KERNEL)
    top = database.get_top_k(workload, 10)
    assert [float(record.run_secs[0]) for record in top] == [3e-6, 9e-6]
    assert len(database.get_top_k(workload, 1)) == 1
    assert sorted(float(record.run_secs[0]) for record in database.get_all_tuning_records()) == [3e-6, 4e-6, 9e-6]


def test_what_it_does_not_know_it_has_not(client: Client) -> None:
    database = client.schedules.database(X86)
    other = tvm.IRModule({"main": KERNEL["main"].with_attr("other", 1)})
    assert database.has_workload(KERNEL)
    assert not database.has_workload(other)
    assert database.query_tuning_record(other, Target(X86), "product") is None
    assert database.get_top_k(ms.database.Workload(other), 3) == []


def test_it_is_not_written(client: Client, store: Store) -> None:
    database = client.schedules.database(X86)
    (record,) = database.get_top_k(database.commit_workload(KERNEL), 1)
    with pytest.raises(RuntimeError, match="import_metaschedule"):
        database.commit_tuning_record(record)
    assert store.stats().records == 7


@pytest.mark.parametrize(
    ("open_it", "error", "said"),
    [
        (lambda schedules: schedules.database({**X86, "mcpu": "znver2"}), errors.NotFound, "znver2"),
        (lambda schedules: schedules.database(X86, device_class="v1:board"), errors.NotFound, "v1:board"),
        (lambda schedules: schedules.database("no JSON"), errors.InvalidInput, "no JSON"),
        (lambda schedules: schedules.database({"kind": "abacus"}), errors.InvalidInput, "abacus"),
    ],
)
def test_what_is_not_there_is_told(
    client: Client, open_it: Callable[[Any], Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        open_it(client.schedules)


def test_a_class_is_named_where_there_are_several(client: Client, store: Store) -> None:
    slow = device("c", cpu="Zen 2")
    workload = workload_of(KERNEL)
    record = new_record(
        workload=workload,
        target=json.dumps(X86),
        identity="two",
        device_fingerprint=slow.fingerprint,
        outcome=Measured((1e-9,)),
        created=1.7e9,
    )
    store.write(AddDevices((slow,)), AddRecords((record,))).result()
    with pytest.raises(errors.InvalidInput, match="say which"):
        client.schedules.database(X86)
    for fingerprint, name in ((HERE.fingerprint, "four"), (slow.fingerprint, "two")):
        database = client.schedules.database(X86, device_class=store.device_classes()[fingerprint])
        assert_same(applied(database, X86), scheduled(name)["main"])
