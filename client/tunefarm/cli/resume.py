"""`tunefarm job resume`: a job that ended, or was interrupted, goes on."""

from __future__ import annotations

from typing import Annotated

import typer

from tunefarm.cli.exits import DONE
from tunefarm.cli.following import finish, follow, interrupted
from tunefarm.cli.output import open_view, print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, JobId, Reach, Token
from tunefarm.documents import job_document
from tunefarm.errors import InvalidInput
from tunefarm.history import History
from tunefarm.request import ResumeTotals

TrialsPerKernel = Annotated[
    int | None,
    typer.Option("--trials-per-kernel", metavar="N", help="Auto-scheduler, both: the new total, N x kernels."),
]
KernelTrials = Annotated[
    int | None, typer.Option("--kernel-trials", metavar="N", help="AutoTVM: the new total of each templated kernel.")
]
MaxTrials = Annotated[int | None, typer.Option("--max-trials", metavar="N", help="The new cap on trials in total.")]
MaxSeconds = Annotated[
    float | None,
    typer.Option("--max-seconds", metavar="S", help="No new trial starts after S seconds from now."),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return when the job goes on (needs --connect).")]


def resume(
    job_id: JobId,
    trials_per_kernel: TrialsPerKernel = None,
    kernel_trials: KernelTrials = None,
    max_trials: MaxTrials = None,
    max_seconds: MaxSeconds = None,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    detach: Detach = False,
    as_json: AsJson = False,
) -> int:
    """Go on with a job that failed, was cancelled or was interrupted; extend one that succeeded.

    Totals count what the job has spent already.
    """
    totals = ResumeTotals(trials_per_kernel, kernel_trials, max_trials, max_seconds)
    if detach and connect is None:
        raise InvalidInput("--detach needs --connect: without it the coordinator ends with this command")
    reach = Reach(connect, token, insecure, data_dir)
    history = History()
    with open_view(as_json) as view, reach.client(agent=True, view=view) as client:
        workflow = client.job(job_id)
        view.notice("resuming the job")
        job = workflow.resume(
            trials_per_kernel=totals.trials_per_kernel,
            kernel_trials=totals.kernel_trials,
            max_trials=totals.max_trials,
            max_seconds=totals.max_seconds,
        )
        if not detach:
            try:
                job = follow(workflow, view, history)
            except KeyboardInterrupt:
                return interrupted(workflow, reach)
    if not detach:
        fetch_command = reach.command("job", "fetch", job_id) if job.has_package else None
        return finish(job, history, package=None, next_command=fetch_command, as_json=as_json)
    if as_json:
        print_document(job_document(job))
    else:
        print_rendered(f"job {job_id} goes on\nnext: {reach.command('job', 'watch', job_id)}")
    return DONE
