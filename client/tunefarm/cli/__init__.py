"""The command line."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: the entry point `tunefarm`."""
    from tunefarm.cli.app import run

    return run(arguments)
