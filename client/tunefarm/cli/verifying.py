"""`tunefarm schedules verify`: what the store has for a model, measured and checked once more."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from tunefarm.cli import tuning
from tunefarm.cli.exits import DONE, code_of_job
from tunefarm.cli.following import follow, interrupted
from tunefarm.cli.known import best_table
from tunefarm.cli.output import open_view, print_document, print_error, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token
from tunefarm.documents import found_document
from tunefarm.errors import NotFound
from tunefarm.history import History
from tunefarm.job import JobState
from tunefarm.printable import printable_value

if TYPE_CHECKING:
    from tunefarm.workflow import Workflow


def verify(
    model: tuning.Model,
    inputs: tuning.Inputs = None,
    shape_sets: tuning.ShapeSets = None,
    padded: tuning.Padded = None,
    samples: tuning.Samples = None,
    ranges: tuning.Ranges = None,
    frozen: tuning.Frozen = None,
    forced: tuning.Forced = None,
    target: tuning.Target = "host",
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
    """Measure and check the best schedules that the store has for the kernels of MODEL.onnx on a device of the farm: no
    trial, and what was imported counts as verified afterwards if it holds.

    It is a job like others (`tunefarm tune --max-trials 0`): `tunefarm job show` has it, with a package.
    """
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
        max_trials=0,
    )
    reach = Reach(connect, token, insecure, data_dir)
    workflow: Workflow | None = None
    with open_view(as_json) as view, reach.client(agent=True, view=view) as client:
        try:
            variant = client.upload_model(
                model, request.shapes, project=project, progress=view.transferred, **request.said_of_inputs
            )
            find = functools.partial(
                variant.schedules,
                target,
                allow_tf32=allow_tf32,
                exact_math=exact_math,
                without_reference=without_reference,
            )
            view.notice("preparing the model")
            if not any(task.best for task in find().tasks):
                raise NotFound(
                    "the store knows no schedule of this model's kernels on this target: `tunefarm tune` measures "
                    "some, `tunefarm schedules import` takes them in"
                )
            view.notice("submitting the job")
            workflow = variant.optimize(target, request.options, **request.caps)
            job = follow(workflow, view, History())
        except KeyboardInterrupt:
            return interrupted(workflow, reach)
        found = find()
    if as_json:
        print_document({**found_document(found), "job_id": job.job_id, "state": job.state})
    elif job.state is JobState.SUCCEEDED:
        print_rendered(best_table(printable_value(found)))
    if job.state is not JobState.SUCCEEDED:
        print_error(f"error: {' '.join(job.error.message.split()) if job.error else f'job {job.job_id} {job.state}'}")
    return DONE if job.state is JobState.SUCCEEDED else code_of_job(job)
