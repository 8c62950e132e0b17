"""What the store has for a model, as people and scripts see it."""

import dataclasses
import datetime
import io
import json

from rich.console import Console

from tunefarm.cli.known import best_table
from tunefarm.documents import found_document
from tunefarm.found import FoundSchedule, FoundSchedules, FoundTask

NOW = datetime.datetime.now(datetime.UTC)


def _schedule(seconds: float, *, verified: bool = True, default: bool = False, days: float = 0) -> FoundSchedule:
    measured = NOW - datetime.timedelta(days=days)
    where = ("job-1", "vision", "zen-a", "board-7")
    return FoundSchedule("r1", "c1", "[[],[]]", seconds, verified, default, measured, *where)


def _task(name: str, *schedules: FoundSchedule, weight: int = 1) -> FoundTask:
    return FoundTask(f"5-{name}", name, weight, 1e6, ("Conv_0",), len(schedules), 2e-3, schedules)


FOUND = FoundSchedules(
    '{"kind":"llvm"}',
    "v1:zen",
    "5",
    (
        _task("conv", _schedule(1e-3, days=40), weight=2),
        _task("dense", _schedule(5e-4, verified=False), _schedule(6e-4)),
        _task("pool"),
    ),
    (),
)


def _shown(found: FoundSchedules, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(best_table(found))
    return out.getvalue()


def test_every_kernel_is_there_with_its_origin_and_age() -> None:
    lines = _shown(FOUND, 120).splitlines()
    assert "verified, 40 days ago, job-1" in lines[1]
    assert "1.00 ms" in lines[1]
    assert "2.00 ms" in lines[1]
    assert "not verified" in lines[2]
    assert "500.0 us" in lines[2]
    assert "nothing known" in lines[3]
    assert "2 of 3 tasks are known, 1 of them verified; their kernels take 2.50 ms in one inference" in lines[4]
    assert "device class: v1:zen" in lines[-1]


def test_who_does_not_say_when_has_no_age() -> None:
    plain = dataclasses.replace(_schedule(1e-3, verified=False), measured=None, job_id="")
    found = dataclasses.replace(FOUND, tasks=(_task("conv", plain),))
    assert "not verified, time unknown" in _shown(found, 120)
    assert found_document(found)["tasks"][0]["schedules"][0]["measured"] is None


def test_a_narrow_terminal_breaks_nothing() -> None:
    shown = _shown(FOUND, 50)
    assert max(map(len, shown.splitlines())) <= 50
    assert all(task.name in shown for task in FOUND.tasks)


def test_a_store_that_knows_nothing_says_what_to_do() -> None:
    nothing = FoundSchedules('{"kind":"llvm"}', "", "5", (_task("conv"),), ())
    assert "no record for this target: `tunefarm tune` measures" in _shown(nothing, 100)


def test_the_document_survives_json() -> None:
    document = json.loads(json.dumps(found_document(FOUND)))
    first = document["tasks"][0]["schedules"][0]
    assert first["seconds"] == 1e-3
    assert datetime.datetime.fromisoformat(first["measured"]) == NOW - datetime.timedelta(days=40)
