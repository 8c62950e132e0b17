"""`tunefarm schedules best` and `top`: what the store has for a model."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tunefarm.cli import tuning
from tunefarm.cli.exits import DONE
from tunefarm.cli.output import open_view, print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token
from tunefarm.documents import found_document
from tunefarm.formats import duration, kernel_time
from tunefarm.printable import printable_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from tunefarm.found import FoundSchedule, FoundSchedules, FoundTask

DeviceClass = Annotated[
    str,
    typer.Option(
        "--class",
        metavar="CLASS",
        help="Whose measurements count, as `tunefarm devices` names it (default: the target's devices').",
    ),
]
Task = Annotated[str, typer.Option("--task", metavar="NAME", help="One kernel alone: its name or its workload.")]
Top = Annotated[int, typer.Option("--top", "-k", metavar="K", min=1, help="So many of each kernel.")]


def best(
    model: tuning.Model,
    inputs: tuning.Inputs = None,
    shape_sets: tuning.ShapeSets = None,
    padded: tuning.Padded = None,
    samples: tuning.Samples = None,
    ranges: tuning.Ranges = None,
    frozen: tuning.Frozen = None,
    forced: tuning.Forced = None,
    target: tuning.Target = "host",
    device_class: DeviceClass = "",
    allow_tf32: tuning.AllowTf32 = False,
    exact_math: tuning.ExactMath = False,
    without_reference: tuning.WithoutReference = False,
    project: tuning.Project = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Show what the store has for the kernels of MODEL.onnx: the best schedule of each, whose it is, and how old."""
    request = tuning.TuningRequest(
        model=model,
        inputs=tuple(inputs or ()),
        shape_sets=tuple(shape_sets or ()),
        padded=tuple(padded or ()),
        samples=samples,
        ranges=tuple(ranges or ()),
        frozen=tuple(frozen or ()),
        forced=tuple(forced or ()),
        target=target,
        allow_tf32=allow_tf32,
        exact_math=exact_math,
        without_reference=without_reference,
        project=project,
    )
    found = _find(request, Reach(connect, token, insecure, data_dir), device_class, 1, "", as_json)
    if as_json:
        print_document(found_document(found))
    else:
        print_rendered(best_table(printable_value(found)))
    return DONE


def top(
    model: tuning.Model,
    task: Task = "",
    count: Top = 10,
    inputs: tuning.Inputs = None,
    shape_sets: tuning.ShapeSets = None,
    padded: tuning.Padded = None,
    samples: tuning.Samples = None,
    ranges: tuning.Ranges = None,
    frozen: tuning.Frozen = None,
    forced: tuning.Forced = None,
    target: tuning.Target = "host",
    device_class: DeviceClass = "",
    allow_tf32: tuning.AllowTf32 = False,
    exact_math: tuning.ExactMath = False,
    without_reference: tuning.WithoutReference = False,
    project: tuning.Project = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Show the fastest schedules that the store has for the kernels of MODEL.onnx, or for one of them."""
    request = tuning.TuningRequest(
        model=model,
        inputs=tuple(inputs or ()),
        shape_sets=tuple(shape_sets or ()),
        padded=tuple(padded or ()),
        samples=samples,
        ranges=tuple(ranges or ()),
        frozen=tuple(frozen or ()),
        forced=tuple(forced or ()),
        target=target,
        allow_tf32=allow_tf32,
        exact_math=exact_math,
        without_reference=without_reference,
        project=project,
    )
    found = _find(request, Reach(connect, token, insecure, data_dir), device_class, count, task, as_json)
    if as_json:
        print_document(found_document(found))
    else:
        print_rendered(_top_tables(printable_value(found)))
    return DONE


def _find(
    request: tuning.TuningRequest, reach: Reach, device_class: str, top: int, task: str, as_json: bool
) -> FoundSchedules:
    with open_view(as_json) as view, reach.client(agent=False, view=view) as client:
        variant = client.upload_model(
            request.model, request.shapes, project=request.project, progress=view.transferred, **request.said_of_inputs
        )
        view.notice("preparing the model")
        return variant.schedules(
            request.target,
            device_class=device_class,
            top=top,
            task=task,
            allow_tf32=request.allow_tf32,
            exact_math=request.exact_math,
            without_reference=request.without_reference,
        )


def best_table(found: FoundSchedules) -> RenderableType:
    """What each kernel has, one line each, and what the model is known of as a whole."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), expand=True)
    table.add_column("task", ratio=3, no_wrap=True, overflow="ellipsis")
    for heading in ("x", "records", "best", "default"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("from", ratio=2, no_wrap=True, overflow="ellipsis")
    for task in found.tasks:
        table.add_row(
            task.name,
            str(task.weight),
            str(task.records),
            kernel_time(task.best.seconds if task.best else None),
            kernel_time(task.default_seconds),
            _origin(task.best) if task.best else "nothing known",
        )
    return Group(table, *(Text(line, overflow="fold") for line in _summary(found)))


def _top_tables(found: FoundSchedules) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for task in found.tasks:
        parts += [Text(f"{task.name}  {task.workload}", style="bold"), _schedule_table(task)]
    return Group(*parts, *(Text(line, overflow="fold") for line in _summary(found)))


def _schedule_table(task: FoundTask) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 2), expand=True, show_header=False)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("candidate", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("from", ratio=2, no_wrap=True, overflow="ellipsis")
    for schedule in task.schedules:
        table.add_row(kernel_time(schedule.seconds), schedule.candidate_id, _origin(schedule))
    return table


def _origin(schedule: FoundSchedule) -> str:
    """verified, default schedule, 3h12m ago, job-…"""
    words = ["verified" if schedule.verified else "not verified"]
    if schedule.default_schedule:
        words.append("default schedule")
    if schedule.measured is None:
        words.append("time unknown")
    else:
        age = datetime.datetime.now(datetime.UTC) - schedule.measured
        words.append(f"{_age(age.total_seconds())} ago")
    if schedule.job_id:
        words.append(schedule.job_id)
    return ", ".join(words)


def _age(seconds: float) -> str:
    days = int(seconds // 86400)
    return f"{days} days" if days > 1 else duration(seconds)


def _summary(found: FoundSchedules) -> Sequence[str]:
    known = [task for task in found.tasks if task.best is not None]
    verified = sum(task.best.verified for task in known if task.best is not None)
    lines = [f"{len(known)} of {len(found.tasks)} tasks are known, {verified} of them verified"]
    if known:
        seconds = sum(task.weight * task.best.seconds for task in known if task.best is not None)
        lines[0] += f"; their kernels take {kernel_time(seconds)} in one inference"
    lines.append(f"target: {found.target}")
    if found.device_class:
        lines.append(f"device class: {found.device_class}")
    else:
        lines.append("the store has no record for this target: `tunefarm tune` measures")
    return lines
