"""`tunefarm tune`: a model in, its package out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefarm.cli import tuning
from tunefarm.cli.exits import DONE
from tunefarm.cli.following import finish, follow, interrupted
from tunefarm.cli.output import open_view, output_folder, print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token, run_command
from tunefarm.documents import job_document
from tunefarm.errors import InvalidInput
from tunefarm.history import History
from tunefarm.job import JobState

if TYPE_CHECKING:
    from tunefarm.client import Client
    from tunefarm.view import View
    from tunefarm.workflow import Workflow

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Where the package goes (default: MODEL-tuned)."),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return when the job is accepted (needs --connect).")]


def tune(
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
    out: Out = None,
    project: tuning.Project = "",
    name: tuning.Name = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    detach: Detach = False,
    as_json: AsJson = False,
) -> int:
    """Tune MODEL.onnx and write the compiled model, with its schedules, to a folder."""
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
    if not detach:
        return _tune_here(request, reach, out or Path(f"{model.stem}-tuned"), as_json)
    if connect is None:
        raise InvalidInput("--detach needs --connect: without it the coordinator ends with this command")
    if out is not None:
        raise InvalidInput("--out has no use with --detach: fetch the package with `tunefarm job fetch ID`")
    return _detach(request, reach, as_json)


def _submit(request: tuning.TuningRequest, client: Client, view: View) -> Workflow:
    variant = client.upload_model(
        request.model,
        request.shapes,
        project=request.project,
        name=request.name,
        progress=view.transferred,
        **request.said_of_inputs,
    )
    view.notice("submitting the job")
    return variant.optimize(request.target, request.options, **request.caps)


def _tune_here(request: tuning.TuningRequest, reach: Reach, out: Path, as_json: bool) -> int:
    workflow: Workflow | None = None
    package: Path | None = None
    history = History()
    with output_folder(out) as folder:
        with open_view(as_json) as view, reach.client(agent=True, view=view) as client:
            try:
                workflow = _submit(request, client, view)
                job = follow(workflow, view, history)
                if job.state is JobState.SUCCEEDED:
                    view.notice("fetching the package")
                    package = workflow.save_package(folder).absolute()
            except KeyboardInterrupt:
                return interrupted(workflow, reach)
        next_command = run_command(out) if package else None
        return finish(job, history, package=package, next_command=next_command, as_json=as_json)


def _detach(request: tuning.TuningRequest, reach: Reach, as_json: bool) -> int:
    workflow: Workflow | None = None
    with reach.client(agent=True) as client:
        try:
            with open_view(as_json) as view:
                workflow = _submit(request, client, view)
                job = workflow.status()
        except KeyboardInterrupt:
            return interrupted(workflow, reach)
    if as_json:
        print_document(job_document(job))
    else:
        print_rendered(
            f"job {job.job_id} is {str(job.state).lower()}\nnext: {reach.command('job', 'watch', job.job_id)}"
        )
    return DONE
