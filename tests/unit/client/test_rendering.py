"""What people see: fits the terminal, and says what happened."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from tests.tuning_stand_in import TASK_NAMES, failing, job_at, succeeding
from tunefarm.formats import duration, failures, kernel_time, milliseconds, size
from tunefarm.rendering import progress_lines, summary
from tunefarm.view import LiveView, PlainView
from tunefarm.wire import job_from


def _text(renderable: RenderableType, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, markup=False, highlight=False).print(renderable)
    return stream.getvalue()


@pytest.mark.parametrize("width", [30, 60, 200])
def test_progress_fits_the_terminal(width: int) -> None:
    text = _text(progress_lines(job_from(job_at("TUNING", 3, 4)), 75.0, width=width, height=24), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "tuning" in text
    assert "4/8 trials" in text
    assert "RUN_ERROR 1" in text


def test_each_shape_set_has_its_latencies_under_what_tells_it_apart() -> None:
    job = succeeding()[-1]
    for width, latency in ((320, 2.0), (640, 5.0)):
        result = job.shape_sets.add()
        result.shapes.inputs["image"].dims.extend((1, 3, 48, width))
        result.shapes.inputs["scale"].dims.append(1)
        result.latency_ms.tuned, result.latency_ms.onnxruntime = latency, 2 * latency
    lines = [line.split() for line in _text(summary(job_from(job), None, None), 80).splitlines()]
    assert ["inputs:", "image=1,3,48,320"] in lines
    assert ["ONNX", "Runtime", "4.00", "ms", "2.00x", "faster"] in lines
    assert lines.index(["tuned", "5.00", "ms"]) > lines.index(["inputs:", "image=1,3,48,640"])


def test_progress_tells_rate_estimate_and_time_left() -> None:
    text = _text(progress_lines(job_from(job_at("TUNING", 3, 4)), 75.0, width=60, height=24), 60)
    for part in ("1m15s", "2.5 trials/s", "model about 3.00 ms", "12s left", "1.00 ms", "333.3 us"):
        assert part in text


def test_progress_shows_the_tasks_that_cost_most_as_far_as_they_fit() -> None:
    job = job_at("TUNING", 3, 4)
    for number in range(40):
        job.tasks.add(name=f"small_{number}", weight=1, best_seconds=1e-6)
    text = _text(progress_lines(job_from(job), 1.0, width=80, height=14), 80)
    assert len(text.splitlines()) <= 14
    assert TASK_NAMES[1] in text
    assert "... and 38 more" in text
    assert "small_30" not in text


@pytest.mark.parametrize(("width", "shown"), [(60, False), (120, True)])
def test_progress_says_which_nodes_a_task_is_where_there_is_room(width: int, shown: bool) -> None:
    text = _text(progress_lines(job_from(job_at("TUNING", 3, 4)), 75.0, width=width, height=24), width)
    assert ("Conv_0, Relu_0 and 1 more" in text) is shown


def test_a_job_without_budget_or_measurements_shows_its_stage() -> None:
    job = job_at("PREPARING", 1)
    job.trials.Clear()
    job.ClearField("tasks")
    assert _text(progress_lines(job_from(job), 3.0, width=60, height=24), 60).split() == [
        "preparing",
        "the",
        "model",
        "little",
        "3s",
    ]


@pytest.mark.parametrize("width", [60, 100])
def test_the_summary_says_what_came_of_it(width: int) -> None:
    text = _text(summary(job_from(succeeding()[-1]), Path("/a/out"), "python out/run.py"), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for part in ("2.00 ± 0.10 ms", "9.00 ± 0.20 ms", "3.00 ± 0.30 ms", "4.50x faster", "1.50x faster", "2e-06"):
        assert part in text
    assert "package: /a/out" in text
    assert "next: python out/run.py" in text
    assert "8 of 8 trials in 10s" in text


def test_a_latency_that_does_not_exist_is_a_dash() -> None:
    job = succeeding()[-1]
    job.latency_ms.ClearField("onnxruntime")
    line = next(line for line in _text(summary(job_from(job), None, None), 80).splitlines() if "ONNX" in line)
    assert line.split() == ["ONNX", "Runtime", "-"]


def test_a_tuned_build_that_is_slower_is_called_so() -> None:
    job = succeeding()[-1]
    job.latency_ms.onnxruntime = job.latency_ms.tuned / 2
    text = _text(summary(job_from(job), None, None), 80)
    assert "2.00x slower" in next(line for line in text.splitlines() if "ONNX" in line)
    assert "4.50x faster" in text


def test_a_failed_job_has_no_latencies() -> None:
    text = _text(summary(job_from(failing("NO_VALID_TRIAL", "all wrong")[-1]), None, None), 80)
    assert "failed" in text
    assert "tuned" not in text


def test_plain_lines_come_with_every_stage_and_every_five_seconds() -> None:
    now = [0.0]
    lines: list[str] = []
    view = PlainView(lines.append, clock=lambda: now[0])
    tuning = job_from(job_at("TUNING", 3, 4))
    with view:
        view.notice("starting the coordinator")
        for seconds in (1.0, 2.0, 5.9, 6.0, 7.0):
            now[0] = seconds
            view.update(tuning)
        view.update(job_from(job_at("SUCCEEDED", 5, 8)))
    assert [line.split("] ")[0].strip("[ ") for line in lines] == ["0s", "1s", "6s", "7s"]
    assert lines[1].endswith("] tuning, 4/8 trials, 2.5/s, model about 3.00 ms, failed: RUN_ERROR 1, 12s left\n")


def test_the_live_view_moves_from_notices_to_the_job() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=60, height=20, force_terminal=True, markup=False)
    with LiveView(console, clock=lambda: 2.0) as view:
        view.transferred(512, 2048)
        assert "sending the model: 512 B of 2.0 KiB" in _text(view.render(), 60)
        view.update(job_from(job_at("TUNING", 3, 4)))
        assert "4/8 trials" in _text(view.render(), 60)
        view.notice("fetching the package")
        assert "fetching the package" in _text(view.render(), 60)


def test_formats() -> None:
    assert [duration(s) for s in (0.4, 12, 105, 7380)] == ["0s", "12s", "1m45s", "2h03m"]
    assert [milliseconds(v) for v in (None, 0.01234, 5.123, 285.04)] == ["-", "0.0123 ms", "5.12 ms", "285.0 ms"]
    assert [kernel_time(v) for v in (None, 1.5e-3, 1.5e-5)] == ["-", "1.50 ms", "15.0 us"]
    assert [size(v) for v in (12, 2048, 3 * 2**20, 5 * 2**30)] == ["12 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"]
    assert failures({"A": 1, "B": 3, "C": 0}) == "B 3, A 1"
