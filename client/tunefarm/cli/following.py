"""Following a job to its end, and saying what came of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from tunefarm.cli.exits import INTERRUPTED, code_of_job
from tunefarm.cli.output import print_document, print_error, print_rendered
from tunefarm.documents import job_document
from tunefarm.errors import TunefarmError
from tunefarm.job import Job, JobState
from tunefarm.printable import printable_value

if TYPE_CHECKING:
    from tunefarm.cli.parameters import Reach
    from tunefarm.history import History
    from tunefarm.view import View
    from tunefarm.workflow import Workflow

_CANCEL_SECONDS = 5.0


def follow(workflow: Workflow, view: View, history: History) -> Job:
    """Shows every update; the job in its terminal state."""
    job = None
    for job in workflow.watch():
        view.update(job)
        history.update(job)
    return job if job is not None else workflow.status()


def finish(job: Job, history: History, *, package: Path | None, next_command: str | None, as_json: bool) -> int:
    """Prints the document or the summary of a terminal job; the exit code."""
    if as_json:
        print_document(job_document(job, str(package) if package else None, history.points))
    else:
        from tunefarm.rendering import summary

        print_rendered(summary(printable_value(job), package, next_command))
    if job.state is JobState.FAILED and job.error is not None:
        print_error(f"error: {' '.join(job.error.message.split())}")
    return code_of_job(job)


def interrupted(workflow: Workflow | None, reach: Reach) -> int:
    """After Ctrl-C: a job on our own coordinator is cancelled; one elsewhere goes on, and how to stop it is said."""
    if workflow is None:
        print_error("interrupted: nothing was started")
    elif reach.connect is not None:
        print_error(f"interrupted: job {workflow.id} goes on")
        print_error(f"  watch it:  {reach.command('job', 'watch', workflow.id)}")
        print_error(f"  cancel it: {reach.command('job', 'cancel', workflow.id)}")
    else:
        print_error(f"interrupted: cancelling job {workflow.id} and stopping what was started")
        with contextlib.suppress(TunefarmError):  # it ends with its coordinator in any case
            workflow.cancel("interrupted by the user")
            workflow.wait(timeout=_CANCEL_SECONDS, poll_interval=0.2)
    return INTERRUPTED
