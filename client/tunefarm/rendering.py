"""What a job looks like in a terminal: pure functions from a job to rich's renderables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunefarm.formats import duration, failures, kernel_time, milliseconds, nodes
from tunefarm.job import Job, JobState, Metrics, TaskProgress
from tunefarm.shape_sets import described, differing

STAGES = {
    JobState.UNSPECIFIED: "working",
    JobState.QUEUED: "queued",
    JobState.PREPARING: "preparing the model",
    JobState.TUNING: "tuning",
    JobState.VERIFYING: "verifying the finalists",
    JobState.PACKAGING: "packaging",
    JobState.BENCHMARKING: "benchmarking the model",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
_LINES_AROUND_TASKS = 9
# Columns from which there is room for the names of ONNX nodes.
_WIDE = 90
_STATE_STYLES = {JobState.SUCCEEDED: "bold green", JobState.FAILED: "bold red", JobState.CANCELLED: "yellow"}


def progress_lines(job: Job, elapsed: float, *, width: int, height: int) -> RenderableType:
    """The live view of a job, for a terminal of `width` columns and `height` lines."""
    parts: list[RenderableType] = [_heading(job, elapsed)]
    if job.trials.budget:
        parts += [_budget_bar(job, width), Text(_rates(job), no_wrap=True, overflow="ellipsis")]
    shown = _top_tasks(job.tasks, max(3, height - _LINES_AROUND_TASKS))
    if shown:
        parts.append(_task_table(shown, job.tasks, width))
    if job.trials.failed:
        parts.append(Text(f"failed: {failures(dict(job.trials.failed))}", style="yellow"))
    return Group(*parts)


def _heading(job: Job, elapsed: float) -> Text:
    stage = Text(STAGES[job.state], style=_STATE_STYLES.get(job.state, "bold cyan"))
    rest = f"  {job.model_name or job.name}  {duration(elapsed)}"
    return Text.assemble(stage, rest, no_wrap=True, overflow="ellipsis")


def _budget_bar(job: Job, width: int) -> RenderableType:
    counts = f"{job.trials.charged}/{job.trials.budget} trials"
    row = Table.grid(padding=(0, 1))
    bar_width = max(10, min(40, width - len(counts) - 4))
    row.add_row(ProgressBar(total=job.trials.budget, completed=job.trials.charged, width=bar_width), counts)
    return row


def _rates(job: Job) -> str:
    parts = [f"{job.trials_per_second:.1f} trials/s"]
    if job.estimated_latency_ms is not None:
        parts.append(f"model about {milliseconds(job.estimated_latency_ms)}")
    if job.seconds_left is not None:
        parts.append(f"{duration(job.seconds_left)} left")
    return "  ".join(parts)


def _top_tasks(tasks: Sequence[TaskProgress], count: int) -> list[TaskProgress]:
    return sorted(tasks, key=lambda task: (-task.contribution_seconds, task.name))[:count]


def _task_table(shown: Sequence[TaskProgress], tasks: Sequence[TaskProgress], width: int) -> Table:
    total = sum(task.contribution_seconds for task in tasks)
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True)
    table.add_column("task", ratio=3, no_wrap=True, overflow="ellipsis")
    with_nodes = width >= _WIDE and any(task.nodes for task in shown)
    if with_nodes:
        table.add_column("nodes", ratio=2, no_wrap=True, overflow="ellipsis")
    for heading in ("x", "trials", "best", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in shown:
        share = f"{100 * task.contribution_seconds / total:.0f}%" if total else "-"
        names = [task.name, nodes(task.nodes)] if with_nodes else [task.name]
        table.add_row(*names, str(task.weight), str(task.charged), kernel_time(task.best_seconds), share)
    if len(tasks) > len(shown):
        table.add_row(f"... and {len(tasks) - len(shown)} more")
    return table


def summary(job: Job, package: Path | None, next_command: str | None) -> RenderableType:
    """What came of a job: latencies with spread, speed-up, difference, where the package is, what to try."""
    parts: list[RenderableType] = [_outcome(job)]
    if job.state is JobState.SUCCEEDED:
        parts += _latency_tables(job)
        if job.metrics.max_rel_error is not None:
            parts.append(Text(f"greatest output difference  {job.metrics.max_rel_error:.2g} (relative)"))
    parts.append(Text(_spending(job)))
    parts += [Text(f"note: {note}") for note in job.notes]
    if package is not None:
        parts.append(_labelled("package", str(package)))
    if next_command is not None:
        parts.append(_labelled("next", next_command))
    return Group(*parts)


def _outcome(job: Job) -> Text:
    stage = Text(STAGES[job.state], style=_STATE_STYLES.get(job.state, "bold"))
    on = f" on {job.device}" if job.device else ""
    return Text.assemble(stage, f"  {job.model_name or job.name}{on}  (job {job.job_id})")


def _latency_tables(job: Job) -> list[RenderableType]:
    """One; or one for each shape set, under what tells it from the others."""
    if not job.shape_sets:
        return [_latency_table(job.metrics)]
    names = differing([each.shapes for each in job.shape_sets])
    parts: list[RenderableType] = []
    for each in job.shape_sets:
        parts += [_labelled("inputs", described(each.shapes, names)), _latency_table(each.metrics)]
    return parts


def _latency_table(metrics: Metrics) -> Table:
    rows = (
        ("tuned", metrics.latency_median_ms, metrics.latency_spread_ms, metrics.first_call_ms),
        (
            "untuned",
            metrics.untuned_latency_median_ms,
            metrics.untuned_latency_spread_ms,
            metrics.untuned_first_call_ms,
        ),
        (
            "ONNX Runtime",
            metrics.onnxruntime_latency_median_ms,
            metrics.onnxruntime_latency_spread_ms,
            metrics.onnxruntime_first_call_ms,
        ),
    )
    has_first = any(first is not None for *_, first in rows)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("build", no_wrap=True)
    table.add_column("latency", justify="right", no_wrap=True)
    table.add_column("tuned is", justify="right", no_wrap=True)
    if has_first:
        table.add_column("first call", justify="right", no_wrap=True)
    for name, latency, spread, first in rows:
        against = "" if name == "tuned" else _speed_up(metrics.latency_median_ms, latency)
        table.add_row(name, milliseconds(latency, spread), against, *([milliseconds(first)] if has_first else []))
    return table


def _speed_up(tuned: float | None, other: float | None) -> str:
    """How the tuned build stands against another one; empty where either is not known."""
    if not tuned or not other:
        return ""
    return f"{other / tuned:.2f}x faster" if other >= tuned else f"{tuned / other:.2f}x slower"


def _spending(job: Job) -> str:
    trials = job.trials
    text = f"{trials.charged} of {trials.budget} trials in {duration(job.seconds.total)}"
    if trials.failed:
        text += f"; failed: {failures(dict(trials.failed))}"
    if trials.refunded:
        text += f"; given back: {trials.refunded}"
    return text


def _labelled(label: str, value: str) -> Text:
    # A path or a command is folded rather than cut: it is there to be copied.
    return Text.assemble((f"{label}: ", "bold"), value, overflow="fold")
