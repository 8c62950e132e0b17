"""The commands, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from tunefarm.cli import devices, doctor, jobs, plan, serve, tune
from tunefarm.cli.exits import BAD_INPUT, INTERRUPTED, code_of_error, error_line
from tunefarm.cli.output import print_error
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
    app = typer.Typer(name="tunefarm", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    app.command()(tune.tune)
    app.command()(plan.plan)
    # All of its arguments are the coordinator's, --help too.
    passing_through = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=passing_through)(serve.serve)
    app.command("jobs")(jobs.jobs)
    job = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="One job: show, watch, cancel it, fetch its package."
    )
    job.command("show")(jobs.show)
    job.command("watch")(jobs.watch)
    job.command("cancel")(jobs.cancel)
    job.command("fetch")(jobs.fetch)
    app.add_typer(job, name="job")
    app.command("devices")(devices.devices)
    app.command("doctor")(doctor.doctor)
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code (`exits.py`)."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its library writes reconnects to stderr otherwise
    try:
        args = None if arguments is None else list(arguments)
        code = build()(args=args, prog_name="tunefarm", standalone_mode=False)
    except TunefarmError as error:
        print_error(error_line(error))
        return code_of_error(error)
    except typer.TyperException as error:
        message = " ".join(error.format_message().split())
        print_error(f"error: {message} (see --help)" if message else "see --help")
        return error.exit_code
    except typer.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else BAD_INPUT
