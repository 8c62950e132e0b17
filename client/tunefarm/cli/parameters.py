"""Options that several commands share, and what they say about reaching a coordinator."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefarm.cli.output import open_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunefarm.client import Client
    from tunefarm.view import View

Connect = Annotated[
    str | None,
    typer.Option(
        "--connect",
        metavar="HOST:PORT",
        envvar="TUNEFARM_CONNECT",
        help="The coordinator to use. Without it, what is needed is started on this machine.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", envvar="TUNEFARM_TOKEN", help="Authenticates to the coordinator."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow plain text to a coordinator on another machine.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        envvar="TUNEFARM_DATA_DIR",
        help="Where jobs and schedules live without --connect (default: the user's data directory).",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as `tunefarm jobs` shows it.")]
# Of records of schedules.
Workload = Annotated[str, typer.Option("--workload", metavar="ID", help="Only this workload's records.")]
Target = Annotated[str, typer.Option("--target", metavar="JSON", help="Only this target's, in TVM's JSON.")]
DeviceClass = Annotated[str, typer.Option("--class", metavar="NAME", help="Only those of this device class.")]
Project = Annotated[str, typer.Option("--project", metavar="NAME", help="Only this project's.")]


@dataclasses.dataclass(frozen=True)
class Reach:
    """How a command reaches its coordinator."""

    connect: str | None
    token: str | None
    insecure: bool
    data_dir: Path | None

    def client(self, *, agent: bool, view: View | None = None) -> Client:
        """A client for it; `agent`: without --connect, this machine's device is needed as well."""
        from tunefarm.client import Client
        from tunefarm.embedded import EmbeddedSettings

        settings = EmbeddedSettings(data_dir=self.data_dir.absolute() if self.data_dir else None, agent=agent)
        told = {} if view is None else {"notice": view.notice, "remark": view.remark}
        return Client(self.connect, token=self.token, insecure=self.insecure, embedded=settings, **told)

    @contextlib.contextmanager
    def session(self, *, agent: bool) -> Iterator[Client]:
        """A client for a short answer: says what goes on (on stderr) only where programs have to be started."""
        with contextlib.ExitStack() as opened:
            view = opened.enter_context(open_view(as_json=True)) if self.connect is None else None
            yield opened.enter_context(self.client(agent=agent, view=view))

    def command(self, *words: str) -> str:
        """A command for the user to type next, with the same address or data folder; quoted for a shell."""
        where: tuple[str, ...] = ()
        if self.connect:
            where = ("--connect", self.connect, *(["--insecure"] if self.insecure else []))
        elif self.data_dir:
            where = ("--data-dir", str(self.data_dir))
        return shlex.join(["tunefarm", *words, *where])


def run_command(package: Path) -> str:
    """The command that runs a package, quoted for a shell."""
    return shlex.join(["python", str(package / "run.py")])
