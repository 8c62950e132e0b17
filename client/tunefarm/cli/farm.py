"""`tunefarm farm ...`: who may do what, and which devices rest. For the farm's admins."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunefarm.cli import devices
from tunefarm.cli.exits import DONE
from tunefarm.cli.output import print_document, print_error, print_rendered
from tunefarm.cli.parameters import AsJson, Insecure, Reach, Token
from tunefarm.errors import InvalidInput
from tunefarm.printable import printable

if TYPE_CHECKING:
    from tunefarm.access import FarmAccess

Connect = Annotated[
    str, typer.Option("--connect", metavar="HOST:PORT", envvar="TUNEFARM_CONNECT", help="The farm's coordinator.")
]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="Of its devices; may be repeated.")]
Expires = Annotated[str, typer.Option("--expires", metavar="TIME", help="30m, 1h, 7d: when it stops being good.")]
Project = Annotated[str, typer.Option("--project", metavar="NAME", help="Whose it is; empty: everybody's.")]


def build() -> typer.Typer:
    """The group with all its commands."""
    plain: Any = {"no_args_is_help": True, "rich_markup_mode": None}
    farm = typer.Typer(help="Look after a farm: who may do what, which devices rest.", **plain)
    farm.command("invite", short_help="The command that a new board joins with.")(invite)
    farm.command("agents", short_help="List the agents that enrolled.")(agents)
    farm.command("revoke", short_help="End an agent's part in the farm, at once.")(revoke)
    farm.command("drain", short_help="Give a device nothing more.")(devices.drain)
    farm.command("resume", short_help="Put a device back.")(devices.resume)
    token = typer.Typer(help="Tokens of users and programs.", **plain)
    token.command("create")(create_token)
    token.command("list")(list_tokens)
    token.command("revoke")(revoke_token)
    farm.add_typer(token, name="token")
    return farm


def invite(
    connect: Connect,
    labels: Labels = None,
    expires: Expires = "1h",
    project: Project = "",
    token: Token = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> int:
    """Print the one command to paste on a board. It is good once, and for an hour unless you say otherwise."""
    from tunefarm.access import parse_duration

    seconds = parse_duration(expires)
    given = dict(_label(text) for text in labels or ())
    with _access(connect, token, insecure) as access:
        made = access.invite(given, seconds, project)
    command = shlex.join(["tunefarm-agent", "join", connect, "--token", made.token])
    if as_json:
        print_document({"invite_id": made.invite_id, "expires": made.expires.isoformat(), "command": command})
    else:
        # As it is, whatever the terminal's width: it is to be copied.
        typer.echo(command)
    return DONE


def agents(connect: Connect, token: Token = None, insecure: Insecure = False, as_json: AsJson = False) -> int:
    """List every agent that ever enrolled."""
    with _access(connect, token, insecure) as access:
        listed = access.agents()
    if as_json:
        print_document({"agents": [_plain(agent) for agent in listed]})
    elif listed:
        rows = [
            (a.agent_id, "revoked" if a.revoked else "enrolled", _day(a.revoked or a.enrolled), a.reason)
            for a in listed
        ]
        _print_table(("agent", "state", "since", "reason"), rows)
    else:
        print_rendered("no agents: `tunefarm farm invite` prints the command that a board joins with")
    return DONE


def revoke(
    agent_id: Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id, as `tunefarm devices` shows it.")],
    connect: Connect,
    reason: Annotated[str, typer.Option(help="Why; the agent is told.")] = "",
    token: Token = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> int:
    """End an agent's part in the farm: its stream ends at once, and it can't come back under this id."""
    with _access(connect, token, insecure) as access:
        agent = access.revoke_agent(agent_id, reason)
    if as_json:
        print_document(_plain(agent))
    else:
        print_rendered(f"agent {agent.agent_id} is revoked")
        again = Reach(connect, token, insecure, None).command("schedules", "retract", "--agent", agent.agent_id)
        print_error(f"what it measured is still believed; to take it back: {again}")
    return DONE


def create_token(
    connect: Connect,
    role: Annotated[str, typer.Option(metavar="ROLE", help="viewer, submitter or admin.")],
    name: Annotated[str, typer.Option(help="Whose it is, for the list.")] = "",
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="90d, say. Default: never.")] = None,
    project: Project = "",
    token: Token = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> int:
    """Make a token and print it, this once: give it as --token or TUNEFARM_TOKEN."""
    from tunefarm.access import parse_duration

    seconds = parse_duration(expires) if expires is not None else None
    with _access(connect, token, insecure) as access:
        made = access.create_token(role, name, seconds, project)  # type: ignore[arg-type]  # checked there
    if as_json:
        print_document(_plain(made))
    else:
        typer.echo(made.token)
    return DONE


def list_tokens(connect: Connect, token: Token = None, insecure: Insecure = False, as_json: AsJson = False) -> int:
    """List every token; what it says itself is not kept anywhere."""
    with _access(connect, token, insecure) as access:
        listed = access.tokens()
    if as_json:
        print_document({"tokens": [_plain(each) for each in listed]})
    else:
        rows = [
            (t.token_id, t.name, t.role, f"revoked {_day(t.revoked)}" if t.revoked else _day(t.expires)) for t in listed
        ]
        _print_table(("id", "name", "role", "until"), rows)
    return DONE


def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `farm token list` shows it.")],
    connect: Connect,
    token: Token = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> int:
    """Refuse a token from now on."""
    with _access(connect, token, insecure) as access:
        revoked = access.revoke_token(token_id)
    if as_json:
        print_document(_plain(revoked))
    else:
        print_rendered(f"token {revoked.token_id} ({revoked.name}) is revoked")
    return DONE


@contextmanager
def _access(connect: str, token: str | None, insecure: bool) -> Iterator[FarmAccess]:
    with Reach(connect, token, insecure, None).client(agent=False) as client:
        yield client.access


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidInput(f"--label takes K=V, not {text!r}")
    return key, value


def _plain(value: Any) -> dict[str, Any]:
    """For scripts: moments in ISO 8601; a token only where there is one."""
    fields = {name: v.isoformat() if isinstance(v, datetime.datetime) else v for name, v in vars(value).items()}
    return {name: v for name, v in fields.items() if name != "token" or v is not None}


def _day(moment: datetime.datetime | None) -> str:
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    print_rendered(table)
