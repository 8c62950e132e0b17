"""Lines of a file of schedules: what was written is read as it was, and each line is an item or set aside."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tunefarm.schedule_file import RefusalKind, ScheduleFile, ScheduleWriter
from tunefarm_proto.v1 import common_pb2, schedule_pb2

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.sampled_from(
    [
        "workload",
        "device",
        "record",
        "id",
        "facts",
        "seconds",
        "at_least",
        "failed",
        "kind",
        "created",
        "trace",
        "flops",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("RUN_ERROR"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _items(draw: st.DrawFn) -> schedule_pb2.ScheduleItem:
    record = schedule_pb2.ScheduleRecord(
        record_id=draw(TEXTS),
        workload=draw(TEXTS),
        target=draw(TEXTS),
        trace=draw(TEXTS),
        candidate_id=draw(TEXTS),
        device_fingerprint=draw(TEXTS),
        seconds=draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3)),
        project=draw(TEXTS),
    )
    record.created.FromNanoseconds(draw(st.integers(0, 4 * 10**9)) * 10**9 + 250_000_000)
    if draw(st.booleans()):
        record.at_least_seconds = draw(st.floats(0, 10))
    if draw(st.booleans()):
        record.failure.CopyFrom(common_pb2.Failure(kind="FAILURE_KIND_RUN_ERROR", message=draw(TEXTS)))
    workload = schedule_pb2.ScheduleWorkload(
        workload=draw(TEXTS), name=draw(TEXTS), module=draw(TEXTS), flops=draw(st.floats(0, 1e12))
    )
    workload.created.CopyFrom(record.created)
    facts = draw(st.dictionaries(TEXTS, TEXTS, max_size=3))
    device = schedule_pb2.ScheduleDevice(fingerprint=draw(TEXTS), facts=facts)
    kind = draw(st.sampled_from(["record", "workload", "device"]))
    content: dict[str, Any] = {"record": record, "workload": workload, "device": device}
    return schedule_pb2.ScheduleItem(**{kind: content[kind]})


@given(st.lists(_items(), max_size=5), st.sampled_from(["a.jsonl", "a.jsonl.gz"]))
def test_what_was_written_is_read_as_it_was(items: list[schedule_pb2.ScheduleItem], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        with ScheduleWriter(path) as writer:
            for item in items:
                writer.write(item)
        file = ScheduleFile(path)
        file.check()
        refused: list[object] = []
        read = list(file.items(lambda *why: refused.append(why)))
        assert refused == []
        assert [item for _, item in read] == items
        assert [line for line, _ in read] == list(range(2, len(items) + 2))
        assert file.position == file.size
        assert list(Path(folder).iterdir()) == [path]


@given(st.lists(st.dictionaries(NAMES, JSON, max_size=3).map(json.dumps) | JSON.map(json.dumps) | TEXTS, max_size=8))
def test_every_line_is_an_item_or_set_aside(lines: list[str]) -> None:
    lines = [line.replace("\n", " ") for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes("\n".join(['{"tunefarm_schedules":1}', *lines, ""]).encode())
        refused: list[tuple[int, RefusalKind, str]] = []
        file = ScheduleFile(path)
        read = [line for line, _ in file.items(lambda *why: refused.append(why))]
    told = sorted(read + [line for line, _, _ in refused])
    assert told == [number for number, line in enumerate(lines, 2) if line.encode().strip()]
    assert {kind for _, kind, _ in refused} <= {RefusalKind.UNREADABLE}
