"""MetaSchedule databases: written page by page as TVM loads them, read line by line whatever is in them."""

import base64
import json
import random
import struct
from pathlib import Path

import pytest
import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.unit.models import graphs
from tunefarm_coordinator.engines import module_text, trace_text
from tunefarm_coordinator.engines.space import DesignSpace
from tunefarm_coordinator.models.database import append
from tunefarm_coordinator.models.database_reading import read_slice
from tunefarm_coordinator.models.log_lines import LONGEST_LINE_BYTES, RECORD_FILE, WORKLOAD_FILE, ReadSlice, Written
from tunefarm_coordinator.models.prepare import PreparedModel, prepare
from tunefarm_coordinator.models.target import host_target

Drafts = dict[str, tuple[str, str, float]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    folder = tmp_path_factory.mktemp("conv_pair")
    return prepare(graphs.save_conv_pair(folder / "m.onnx"), {"x": (1, 32, 10, 10)}, host_target(), folder / "out")


@pytest.fixture(scope="module")
def drafts(prepared: PreparedModel) -> Drafts:
    """Three schedules of each kernel by their identities, weights laid out: (workload, trace, seconds)."""
    found: Drafts = {}
    for task in prepared.tasks:
        space = DesignSpace(module_text.load(task.module), Target(prepared.target), random.Random(3))
        made: Drafts = {}
        while len(made) < 3:
            draft = space.sample()
            if draft is not None:
                made[draft.identity] = (task.workload, trace_text.encode(draft.trace), 1e-4 * (len(made) + 1))
        found |= made
    return found


@pytest.fixture
def database(prepared: PreparedModel, drafts: Drafts, tmp_path: Path) -> Path:
    """All of them, in two pages, the second of which was begun before by a process that died."""
    modules = {task.workload: task.module for task in prepared.tasks}
    records = list(drafts.values())
    first = append(tmp_path, prepared.target, modules, records[:2], Written())
    with (tmp_path / RECORD_FILE).open("a") as file:
        file.write('[0,[[["half a li')
    unfit = (records[0][0], records[0][1].replace("conv2d_nhwc", "conv9"), 1e-3)
    marked = json.dumps([[["Annotate", ["b0", '"winograd 4"'], ["tunefarm.program"], []]], []])
    whole = append(tmp_path, prepared.target, modules, [*records[2:], unfit, (records[0][0], marked, 1e-3)], first)
    assert (whole.records, whole.unfit, whole.other_algorithm, len(whole.places)) == (6, 1, 1, 2)
    assert whole.sizes == tuple((tmp_path / name).stat().st_size for name in (WORKLOAD_FILE, RECORD_FILE))
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD_FILE, WORKLOAD_FILE]
    return tmp_path


def _read(database: Path, offset: int = 0, line: int = 1, count: int = 500) -> ReadSlice:
    files = (database / WORKLOAD_FILE, database / RECORD_FILE)
    return read_slice(*files, offset=offset, line=line, count=count, longest_seconds=3600.0)


def test_tvm_loads_it_and_finds_the_best(prepared: PreparedModel, database: Path) -> None:
    loaded = ms.database.JSONDatabase(work_dir=str(database))
    assert len(loaded) == 6
    for task in prepared.tasks:
        best = loaded.query_tuning_record(module_text.load(task.module), Target(prepared.target), "")
        assert [float(seconds) for seconds in best.run_secs] == [pytest.approx(1e-4)]


def test_a_schedule_comes_back_as_the_one_that_it_was(prepared: PreparedModel, drafts: Drafts, database: Path) -> None:
    read = _read(database)
    assert read.refused == ()
    assert {record.identity: record.workload for record in read.records} == {
        identity: workload for identity, (workload, _, _) in drafts.items()
    }
    for record in read.records:
        assert list(record.seconds) == [pytest.approx(drafts[record.identity][2])]
    assert {record.target for record in read.records} == {prepared.target}
    tasks = {task.workload: task for task in prepared.tasks}
    for known in read.workloads:
        task = tasks[known.workload]
        assert (known.module, known.flops, known.shapes) == (task.module, task.flops, task.shapes)
        assert known.name.startswith("conv2d_nhwc_1x")


def test_slices_go_on_where_one_ended(database: Path) -> None:
    whole, read, offset = _read(database), list[ReadSlice](), 0
    while offset < whole.end:
        read.append(_read(database, offset, 1 + 4 * len(read), 4))
        offset = read[-1].end
    assert [part.lines for part in read] == [4, 2]
    assert [record for part in read for record in part.records] == list(whole.records)


def test_a_line_that_is_none_costs_itself_alone(database: Path) -> None:
    lines = (database / RECORD_FILE).read_text().splitlines(keepends=True)
    good = json.loads(lines[0])
    modules = [
        '["1","!"]\n',
        "[]\n",
        "{\n",
        json.dumps(["1", base64.b64encode(struct.pack("<Q", 1 << 60) + b"{}").decode()]) + "\n",
        json.dumps(["1", base64.b64encode(struct.pack("<Q", 2) + b"{}").decode()]) + "\n",
        json.dumps(["1", base64.b64encode(_saved(tvm.IRModule())).decode()]) + "\n",
    ]
    with (database / WORKLOAD_FILE).open("a") as file:
        file.writelines(modules)
    trace, seconds, target, arguments = good[1]

    def of(place: object = good[0], trace: object = trace, seconds: object = seconds, target: object = target) -> str:
        return json.dumps([place, [trace, seconds, target, arguments]]) + "\n"

    spoiled = {
        "garbage\n": "is no JSON",
        "[" * 100_000 + "\n": "is no JSON",
        "7\n": "no tuning record",
        '["a", []]\n': "no tuning record",
        of(place=-1): "no such line",
        of(place=2 + len(modules)): "no such line",
        **{of(place=2 + at): f"line {3 + at} of {WORKLOAD_FILE}" for at in range(len(modules))},
        of(trace=[]): "does not fit",
        of(trace=[[["Split"]], []]): "does not fit",
        of(trace=[[["NoSuchThing", [], [], []]], []]): "does not fit",
        of(seconds=None): "has no time",
        of(seconds=[]): "has no time",
        of(seconds=["1"]): "no numbers",
        of(seconds=[0.1, -1]): "no numbers",
        of(seconds=[float("nan")]): "no numbers",
        of(seconds=[1e-3, 1e10]): "stands for a failure",
        of(target={"kind": "no such kind"}): "its target",
        of(target={"kind": "llvm"}): "num-cores",
        "x" * (LONGEST_LINE_BYTES + 5) + "\n": "too long",
        lines[0][:99]: "ends within",
    }
    (database / RECORD_FILE).write_text("".join([*lines, "\n", *spoiled]))
    parts, offset, line = list[ReadSlice](), 0, 1
    while (part := _read(database, offset, line)).lines:
        parts.append(part)
        offset, line = part.end, line + part.lines
    assert sum(len(part.records) for part in parts) == len(lines)
    refused = [item for part in parts for item in part.refused]
    assert [item.line for item in refused] == [len(lines) + 2 + at for at in range(len(spoiled))]
    for item, (text, said) in zip(refused, spoiled.items(), strict=True):
        assert said in item.reason, (text[:80], item.reason)
    assert [item.sentinel for item in refused].count(True) == 1


def _saved(module: tvm.IRModule) -> bytes:
    text = str(tvm.ir.save_json(module)).encode()
    return struct.pack("<Q", len(text)) + text
