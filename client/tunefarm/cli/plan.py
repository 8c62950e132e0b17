"""`tunefarm plan`: what a job would do, before anything is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunefarm.cli import tuning
from tunefarm.cli.exits import DONE
from tunefarm.cli.output import open_view, print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token
from tunefarm.documents import plan_document

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunefarm.job import Plan


def plan(
    model: tuning.Model,
    inputs: tuning.Inputs = None,
    target: tuning.Target = "host",
    tuner: tuning.Tuner = None,
    trials_per_kernel: tuning.TrialsPerKernel = None,
    kernel_trials: tuning.KernelTrials = None,
    early_stopping_threshold: tuning.EarlyStopping = None,
    max_trials: tuning.MaxTrials = None,
    max_seconds: tuning.MaxSeconds = None,
    seed: tuning.Seed = None,
    project: tuning.Project = "",
    name: tuning.Name = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Show the tasks of MODEL.onnx, their weights and the total budget; spends nothing."""
    request = tuning.TuningRequest(
        model=model,
        inputs=tuple(inputs or ()),
        target=target,
        tuner=tuner,
        trials_per_kernel=trials_per_kernel,
        kernel_trials=kernel_trials,
        early_stopping_threshold=early_stopping_threshold,
        max_trials=max_trials,
        max_seconds=max_seconds,
        seed=seed,
        project=project,
        name=name,
    )
    reach = Reach(connect, token, insecure, data_dir)
    with open_view(as_json) as view, reach.client(agent=True, notice=view.notice) as client:
        variant = client.upload_model(model, request.shapes, project=project, name=name, progress=view.transferred)
        view.notice("preparing the model")
        planned = variant.plan(target, request.options, **request.caps)
    if as_json:
        print_document(plan_document(planned))
    else:
        print_rendered(_plan_table(planned))
    return DONE


def _plan_table(plan: Plan) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), expand=True)
    table.add_column("task", ratio=1, no_wrap=True, overflow="ellipsis")
    for heading in ("x", "GFLOP", "known", "first"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in plan.tasks:
        numbers = (task.weight, f"{task.flops / 1e9:.3f}", task.known_records, task.first_round_trials)
        table.add_row(task.name, *(str(number) for number in numbers))
    unreached = sum(1 for task in plan.tasks if task.first_round_trials == 0)
    total = f"{plan.budget} trials for {len(plan.tasks)} tasks with {plan.tuner}"
    parts: list[RenderableType] = [table, Text(total, style="bold")]
    if unreached:
        parts.append(Text(f"the budget does not reach {unreached} of them (first: 0)", style="yellow"))
    parts.append(Text(f"target: {plan.target}", overflow="fold"))
    if plan.layout:
        parts.append(Text(f"layout: {plan.layout}"))
    parts += [Text(f"note: {note}") for note in plan.notes]
    return Group(*parts)
