"""`tunefarm schedules prune`: a store that keeps the fastest schedules of each kernel alone."""

from __future__ import annotations

import contextlib
import datetime
import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from tunefarm.cli.exits import DONE, INTERRUPTED
from tunefarm.cli.output import open_view, print_document, print_error, print_rendered
from tunefarm.cli.parameters import (
    AsJson,
    Connect,
    DataDir,
    DeviceClass,
    Insecure,
    Project,
    Reach,
    Target,
    Token,
    Workload,
)
from tunefarm.cli.telling import Telling, bar
from tunefarm.documents import pruned_document
from tunefarm.errors import InvalidInput, TunefarmError
from tunefarm.formats import counted, size

if TYPE_CHECKING:
    from tunefarm.pruning import Pruned

KeepTop = Annotated[
    int, typer.Option("--keep-top", metavar="K", min=1, help="Schedules to keep of each kernel and device class.")
]
OlderThan = Annotated[
    str | None,
    typer.Option(metavar="TIME", help='Only what was measured before: 90d for 90 days ago, or "2026-11-26 14:30".'),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say only how much it would be.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def prune(
    keep_top: KeepTop,
    workload: Workload = "",
    target: Target = "",
    device_class: DeviceClass = "",
    project: Project = "",
    older_than: OlderThan = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Make the store smaller: of each kernel, target and device class the K fastest schedules stay.

    So does what was verified or compared, what jobs that run have measured, and the fastest of each job, so that it can
    be resumed. What goes is gone, but for its count: what is best, how many trials were spent and so what a job will do
    stay as they are, and copies are not taken in again from other farms. Take back first what should not be believed
    (retract). It may be interrupted, and run again.
    """
    from tunefarm.retracting import parse_moment

    now = datetime.datetime.now().astimezone()
    before = parse_moment(older_than, now) if older_than is not None else None
    if not (dry_run or yes or sys.stdin.isatty()):
        raise InvalidInput("nobody is there to be asked: give --yes, or --dry-run to see how much it would be")
    view = open_view(as_json=True)
    with contextlib.ExitStack() as opened:
        with contextlib.ExitStack() as shown:  # over before anybody is asked
            if connect is None:
                shown.enter_context(view)
            reach = Reach(connect, token, insecure, data_dir)
            client = opened.enter_context(reach.client(agent=False, view=view if connect is None else None))
            take = functools.partial(
                client.schedules.prune,
                keep_top=keep_top,
                workload=workload,
                target=target,
                device_class=device_class,
                project=project,
                before=before,
            )
            counting = _Progress(Telling(view, shown, shown=connect is None), "looking")
            found = take(dry_run=True, progress=counting)
        if not dry_run and not found.nothing:
            if not (yes or typer.confirm(f"prune {_much(found)}?", err=True)):
                print_error("nothing was pruned")
                return DONE
            with _pruning() as progress:
                found = take(progress=progress)
            if progress.interrupted:
                return INTERRUPTED
    if as_json:
        print_document({**pruned_document(found), "dry_run": dry_run})
    elif found.nothing:
        print_rendered("nothing to prune")
    else:
        print_rendered(f"would prune {_much(found)}" if dry_run else f"pruned {_much(found)}{_room(found)}")
    return DONE


class _Progress:
    """Says how far it is."""

    def __init__(self, telling: Telling, doing: str) -> None:
        self._telling = telling
        self._doing = doing
        self.records = 0
        self.interrupted = False

    def __call__(self, so_far: Pruned) -> None:
        self.records = so_far.records
        if not so_far.total:
            return
        records = counted(so_far.records, "record")
        if so_far.returned:
            self._telling(lambda: f"giving room back: {size(so_far.returned or 0)}")
        else:
            self._telling(lambda: f"{self._doing} {bar(so_far.done, so_far.total)}  {records}")


@contextlib.contextmanager
def _pruning() -> Iterator[_Progress]:
    """Progress of what can't be undone: where it breaks off, how much it was by then is said."""
    with contextlib.ExitStack() as shown:
        progress = _Progress(Telling(open_view(as_json=True), shown, shown=False), "pruning")
        try:
            yield progress
        except KeyboardInterrupt:
            progress.interrupted = True
        except TunefarmError:
            if progress.records:
                print_error(f"{counted(progress.records, 'record')} pruned. The same command goes on there")
            raise
    if progress.interrupted:
        print_error(f"interrupted: {counted(progress.records, 'record')} pruned. The same command goes on there")


def _much(found: Pruned) -> str:
    much = f"{counted(found.records, 'record')} of {counted(found.workloads, 'workload')}"
    return f"{much}, with the traces of {counted(found.traces, 'schedule')}" if found.traces else much


def _room(found: Pruned) -> str:
    """What became of the room that they took."""
    if found.freed is None:
        return "; their room is used again once the database has vacuumed"
    if found.returned:
        return f"; {size(found.freed)} freed, the store's file is {size(found.returned)} smaller"
    return f"; {size(found.freed)} of the store's file are free for what comes"
