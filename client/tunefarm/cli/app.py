"""The commands, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tunefarm.cli import compiling, devices, doctor, farm, jobs, plan, resume, schedules, serve, tune
from tunefarm.cli.exits import BAD_INPUT, FAILED, INTERRUPTED, code_of_error, error_line
from tunefarm.cli.output import drop_output, open_missing_streams, print_error
from tunefarm.errors import TunefarmError


def _print_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        typer.echo(f"tunefarm {importlib.metadata.version('tunefarm')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An ONNX model in, the model with the fastest schedules of your device farm out.

    Start with: tunefarm tune MODEL.onnx
    """


def build() -> typer.Typer:
    """The application with all its commands."""
    # Plain help: rich's tables cut long option names off in narrow terminals.
    plain: Any = {"no_args_is_help": True, "rich_markup_mode": None, "add_completion": False}
    app = typer.Typer(name="tunefarm", pretty_exceptions_enable=False, **plain)
    app.callback()(_root)
    app.command(short_help="An ONNX model in, its tuned build out.")(tune.tune)
    app.command(short_help="Show tasks and budget; spends nothing.")(plan.plan)
    app.command("compile", short_help="Compile with what the store has; no trial.")(compiling.compile_model)
    # All of its arguments are the coordinator's, --help too.
    passing_through = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=passing_through, short_help="Run the coordinator.")(serve.serve)
    app.command("jobs", short_help="List the jobs, newest first.")(jobs.jobs)
    job = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="One job: show, watch, cancel, resume it, fetch its package."
    )
    job.command("show")(jobs.show)
    job.command("watch", short_help="Follow a job until it ends.")(jobs.watch)
    job.command("cancel")(jobs.cancel)
    job.command("resume", short_help="Go on with a job that ended; extend one.")(resume.resume)
    job.command("fetch")(jobs.fetch)
    app.add_typer(job, name="job")
    app.command("devices", short_help="List the devices of the farm.")(devices.devices)
    app.add_typer(schedules.build(), name="schedules")
    app.add_typer(farm.build(), name="farm")
    app.command("doctor", short_help="Check this machine and the coordinator.")(doctor.doctor)
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code (`exits.py`)."""
    open_missing_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        return FAILED  # as the command line's library has it where the pipe breaks earlier
    return code


def _run(arguments: Sequence[str] | None) -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its library writes reconnects to stderr otherwise
    try:
        args = None if arguments is None else list(arguments)
        code = build()(args=args, prog_name="tunefarm", standalone_mode=False)
    except TunefarmError as error:
        print_error(error_line(error))
        return code_of_error(error)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        if context is not None and error.message == context.get_help():  # a group of commands, and none was named
            print_error(error.message)
        else:
            print_error(f"error: {' '.join(error.format_message().split())} (see --help)")
        return error.exit_code
    except typer.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else BAD_INPUT
