"""`tunefarm plan`: what a job would do, before anything is spent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tunefarm.cli import tuning
from tunefarm.cli.exits import DONE
from tunefarm.cli.output import open_view, print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token
from tunefarm.documents import plan_document
from tunefarm.formats import duration, nodes
from tunefarm.printable import printable_value
from tunefarm.shape_sets import described, differing

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunefarm.job import Plan
    from tunefarm.options import TuningOptions


def plan(
    model: tuning.Model,
    inputs: tuning.Inputs = None,
    shape_sets: tuning.ShapeSets = None,
    padded: tuning.Padded = None,
    samples: tuning.Samples = None,
    ranges: tuning.Ranges = None,
    frozen: tuning.Frozen = None,
    forced: tuning.Forced = None,
    target: tuning.Target = "host",
    tuner: tuning.Tuner = None,
    trials_per_kernel: tuning.TrialsPerKernel = None,
    kernel_trials: tuning.KernelTrials = None,
    early_stopping_threshold: tuning.EarlyStopping = None,
    top_trials_per_kernel: tuning.TopTrials = None,
    exploration_trials: tuning.ExplorationTrials = None,
    random_trials: tuning.RandomTrials = None,
    max_trials: tuning.MaxTrials = None,
    max_seconds: tuning.MaxSeconds = None,
    seed: tuning.Seed = None,
    allow_tf32: tuning.AllowTf32 = False,
    exact_math: tuning.ExactMath = False,
    without_reference: tuning.WithoutReference = False,
    project: tuning.Project = "",
    name: tuning.Name = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Show the tuner, the tasks of MODEL.onnx, the total budget and the time that it may take; spends nothing."""
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
        tuner=tuner,
        trials_per_kernel=trials_per_kernel,
        kernel_trials=kernel_trials,
        early_stopping_threshold=early_stopping_threshold,
        top_trials_per_kernel=top_trials_per_kernel,
        exploration_trials=exploration_trials,
        random_trials=random_trials,
        max_trials=max_trials,
        max_seconds=max_seconds,
        seed=seed,
        allow_tf32=allow_tf32,
        exact_math=exact_math,
        without_reference=without_reference,
        project=project,
        name=name,
    )
    reach = Reach(connect, token, insecure, data_dir)
    with open_view(as_json) as view, reach.client(agent=True, view=view) as client:
        variant = client.upload_model(
            model, request.shapes, project=project, name=name, progress=view.transferred, **request.said_of_inputs
        )
        view.notice("preparing the model")
        planned = variant.plan(target, request.options, **request.caps)
    if as_json:
        print_document(plan_document(planned))
    else:
        print_rendered(_plan_table(printable_value(planned)))
    return DONE


def _plan_table(plan: Plan) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    total = f"{plan.budget} trials for {len(plan.tasks)} tasks with {plan.tuner}"
    parts: list[RenderableType] = [_task_table(plan), Text(total, style="bold")]
    if plan.options is not None:
        parts.append(Text(f"options: {_options_text(plan.options)}"))
    parts.append(Text(f"estimated time: {_estimate_text(plan)}"))
    parts.append(Text(f"target: {plan.target}", overflow="fold"))
    if len(plan.shape_sets) > 1:
        names = differing(plan.shape_sets)
        parts.append(Text("shape sets: " + "; ".join(described(each, names) for each in plan.shape_sets)))
    if plan.layout:
        parts.append(Text(f"layout: {plan.layout}"))
    if plan.allow_tf32:
        parts.append(Text("precision: float32 products may use TF32 (--allow-tf32)"))
    if plan.exact_math:
        parts.append(
            Text("precision: exp, tanh and their like are libm's on CPUs, convolutions direct sums (--exact-math)")
        )
    parts += [Text(f"note: {note}") for note in plan.notes]
    return Group(*parts)


def _task_table(plan: Plan) -> RenderableType:
    from rich.table import Table

    templated = any(task.trials is not None for task in plan.tasks)
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True)
    table.add_column("task", ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column("nodes", ratio=2, no_wrap=True, overflow="ellipsis")
    if templated:
        table.add_column("template", ratio=1, no_wrap=True, overflow="ellipsis")
    for heading in ("x", "GFLOP", "known", "first", *(["trials"] if templated else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in plan.tasks:
        calls = "+".join(map(str, task.weights)) or str(task.weight)
        numbers: list[object] = [calls, f"{task.flops / 1e9:.3f}", task.known_records, task.first_round_trials]
        names = [task.name, nodes(task.nodes)]
        if templated:
            names.append(task.template or "none: default schedule")
            numbers.append(task.trials or 0)
        table.add_row(*names, *(str(number) for number in numbers))
    return table


def _options_text(options: TuningOptions) -> str:
    return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(options).items())


def _estimate_text(plan: Plan) -> str:
    if plan.estimated_seconds is None:
        return "none, nothing was measured here yet"
    pace = f"{plan.trials_per_second:.1f} trials/s" if plan.trials_per_second is not None else "the pace"
    jobs = "the last job" if plan.measured_jobs == 1 else f"the last {plan.measured_jobs} jobs"
    return f"about {duration(plan.estimated_seconds)}, at {pace} of {jobs} like it"
