"""`tunefarm jobs` and `tunefarm job show|watch|cancel|fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefarm.cli.exits import DONE
from tunefarm.cli.following import finish, follow, interrupted
from tunefarm.cli.output import open_view, output_folder, print_document, print_error, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, JobId, Reach, Token, run_command
from tunefarm.documents import job_document, jobs_document
from tunefarm.formats import milliseconds
from tunefarm.history import History
from tunefarm.printable import printable, printable_value

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunefarm.job import Job

Project = Annotated[str, typer.Option("--project", metavar="NAME", help="Only this project's jobs.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Where the package goes (default: MODEL-tuned)."),
]


def jobs(
    project: Project = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """List the jobs that the coordinator knows, newest first."""
    with Reach(connect, token, insecure, data_dir).session(agent=False) as client:
        listed = client.jobs(project)
    if as_json:
        print_document(jobs_document(listed))
    elif listed:
        print_rendered(_job_table(printable_value(listed)))
    else:
        print_rendered("no jobs")
    return DONE


def _job_table(listed: list[Job]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("job", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("model", no_wrap=True, overflow="ellipsis")
    table.add_column("trials", justify="right", no_wrap=True)
    table.add_column("tuned", justify="right", no_wrap=True)
    for job in listed:
        trials = f"{job.trials.charged}/{job.trials.budget}"
        latency = milliseconds(job.metrics.latency_median_ms)
        table.add_row(job.job_id, str(job.state), job.model_name or job.name, trials, latency)
    return table


def show(
    job_id: JobId,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Show one job as it is now."""
    with Reach(connect, token, insecure, data_dir).session(agent=False) as client:
        job = client.job(job_id).status()
    if as_json:
        print_document(job_document(job))
        return DONE
    from tunefarm.cli.output import console
    from tunefarm.rendering import progress_lines, summary

    terminal, job = console(stderr=False), printable_value(job)
    if job.state.terminal:
        terminal.print(summary(job, None, None))
        if job.error is not None:
            terminal.print(f"{job.error.kind}: {job.error.message}")
    else:
        elapsed = job.seconds.total
        terminal.print(progress_lines(job, elapsed, width=terminal.width, height=terminal.height))
        for note in job.notes:
            terminal.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    return DONE


def watch(
    job_id: JobId,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Follow a job until it ends; exits with 1 if it failed or was cancelled."""
    reach = Reach(connect, token, insecure, data_dir)
    history = History()
    with open_view(as_json) as view, reach.client(agent=True, view=view) as client:
        workflow = client.job(job_id)
        try:
            job = follow(workflow, view, history)
        except KeyboardInterrupt:
            return interrupted(workflow, reach)
    fetch_command = reach.command("job", "fetch", job_id) if job.has_package else None
    return finish(job, history, package=None, next_command=fetch_command, as_json=as_json)


def cancel(
    job_id: JobId,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Cancel a job; one that has ended stays as it is."""
    with Reach(connect, token, insecure, data_dir).session(agent=False) as client:
        job = client.job(job_id).cancel()
    if as_json:
        print_document(job_document(job))
    elif job.state.terminal:
        print_rendered(f"job {job.job_id} is {str(job.state).lower()}")
    else:
        print_rendered(f"job {job.job_id} is being cancelled")
    return DONE


def fetch(
    job_id: JobId,
    out: Out = None,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Write a job's package to a folder."""
    reach = Reach(connect, token, insecure, data_dir)
    with open_view(as_json=True) as view, reach.client(agent=False, view=view) as client:
        workflow = client.job(job_id)
        job = workflow.packaged()
        view.notice("fetching the package")
        folder = out or Path(f"{_folder_name(job)}-tuned")
        with output_folder(folder):
            package = workflow.save_package(folder).absolute()
    if as_json:
        print_document(job_document(job, str(package)))
    else:
        print_rendered(f"package: {package}\nnext: {run_command(folder)}")
    if job.notes and not as_json:
        print_error("\n".join(f"note: {printable(note)}" for note in job.notes))
    return DONE


def _folder_name(job: Job) -> str:
    """The model's name as one folder's: a name that the coordinator sent never leads elsewhere."""
    name = Path(job.model_name or job.name).name
    return name if name not in ("", ".", "..") else job.job_id.replace("/", "_")
