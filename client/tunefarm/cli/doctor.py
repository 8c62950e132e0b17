"""`tunefarm doctor`: what this machine has for each part of the farm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunefarm.cli.exits import DONE, FAILED
from tunefarm.cli.output import print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, Insecure, Token
from tunefarm.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunefarm.diagnosis import Finding


def doctor(connect: Connect = None, token: Token = None, insecure: Insecure = False, as_json: AsJson = False) -> int:
    """Check this machine (versions, compiler, cores, disk) and, with --connect, the coordinator.

    Exits with 1 if something is broken.
    """
    from tunefarm.diagnosis import examine

    findings = examine(connect, token=token, insecure=insecure)
    if as_json:
        print_document({"checks": [{"name": f.name, "state": str(f.state), "detail": f.detail} for f in findings]})
    else:
        print_rendered(_finding_table(findings))
    return FAILED if any(finding.state == "missing" for finding in findings) else DONE


def _finding_table(findings: list[Finding]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "optional": "yellow", "missing": "red"}
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for finding in findings:
        table.add_row(finding.name, Text(finding.state, style=styles[finding.state]), printable(finding.detail))
    return table
