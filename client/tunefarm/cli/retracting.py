"""`tunefarm schedules retract`: what a bad agent or a broken board brought is taken back."""

from __future__ import annotations

import contextlib
import datetime
import functools
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tunefarm.cli.exits import DONE
from tunefarm.cli.output import open_view, print_document, print_error, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token
from tunefarm.documents import retracted_document
from tunefarm.errors import InvalidInput, NotFound
from tunefarm.formats import counted

if TYPE_CHECKING:
    from tunefarm.client import Client
    from tunefarm.retracting import Retracted

Agent = Annotated[str, typer.Option("--agent", metavar="ID", help="What this agent reported.")]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="AGENT/DEVICE|FINGERPRINT", help="What was measured on it (`tunefarm devices --json`)."
    ),
]
JobId = Annotated[str, typer.Option("--job", metavar="ID", help="What this job measured.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help='Measured then or later: "2026-11-26 14:30", or 2d for two days ago.')
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Measured before it.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept with them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say only how much it would be.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def retract(
    agent: Agent = "",
    device: Device = "",
    job: JobId = "",
    since: Since = None,
    until: Until = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Take back what an agent, a device or a job brought: it is best of nothing any more, and no job starts from it.

    All that is given has to hold. It is put aside with the reason, not erased; copies that other farms took in stay
    theirs, and are not taken in here again. Jobs that run now go on with what they know.
    """
    from tunefarm.retracting import parse_moment

    now = datetime.datetime.now().astimezone()
    times = [parse_moment(text, now) if text is not None else None for text in (since, until)]
    if not (agent or device or job or since or until):
        raise InvalidInput("whose schedules are to be taken back? Give --agent, --device, --job or --since")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise InvalidInput("nobody is there to be asked: give --yes, or --dry-run to see how much it would be")
    reach = Reach(connect, token, insecure, data_dir)
    with contextlib.ExitStack() as opened:
        view = open_view(as_json=True) if connect is None else None
        with view or contextlib.nullcontext():  # over before anybody is asked
            client = opened.enter_context(reach.client(agent=False, view=view))
            take = functools.partial(
                client.schedules.retract,
                agent=agent,
                device=_fingerprint(client, device),
                job=job,
                since=times[0],
                until=times[1],
                reason=reason,
            )
            found = take(dry_run=True)
        done = False
        if not dry_run and not found.nothing:
            if not (yes or typer.confirm(f"take back {_much(found)}?", err=True)):
                print_error("nothing was taken back")
                return DONE
            found, done = take(), True
    if as_json:
        print_document({**retracted_document(found), "dry_run": dry_run})
    elif found.nothing:
        print_rendered("nothing matches" + (_OLD if agent else ""))
    else:
        print_rendered(f"{'took' if done else 'would take'} back {_much(found)}")
    return DONE


# Records of before the store kept agents name none.
_OLD = "; records from before this version name no agent: --device and --since find them"


def _fingerprint(client: Client, device: str) -> str:
    """That of a device of the farm, named as `tunefarm devices` does. Raises NotFound."""
    if "/" not in device:
        return device
    for known in client.devices():
        if f"{known.agent_id}/{known.device_id}" == device:
            return known.fingerprint
    raise NotFound(f"no device {device} in the farm now: give its fingerprint, which `schedules top --json` shows")


def _much(found: Retracted) -> str:
    checks = f"{counted(found.verifications, 'verification')} and {counted(found.comparisons, 'comparison')}"
    return f"{counted(found.records, 'record')} of {counted(found.workloads, 'workload')}, {checks}"
