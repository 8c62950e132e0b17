"""Where a command writes: one JSON document or text on stdout, progress where it disturbs neither."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunefarm.documents import Document, finite
from tunefarm.errors import InvalidInput
from tunefarm.printable import printable_lines

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tunefarm.view import View


def print_document(document: Document) -> None:
    """The document, and nothing else, on stdout."""
    sys.stdout.write(json.dumps(finite(document), indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_rendered(renderable: RenderableType) -> None:
    """Tables and text on stdout."""
    console(stderr=False).print(printable_lines(renderable) if isinstance(renderable, str) else renderable)


def print_error(line: str) -> None:
    """A line on stderr; a token that came into it is masked."""
    from tunefarm_proto.trust import mask

    sys.stderr.write(printable_lines(mask(line).rstrip("\n")) + "\n")
    sys.stderr.flush()


def console(*, stderr: bool) -> Console:
    """A console that shows what it is given as it is (names may hold brackets), but for what a terminal would obey."""
    from tunefarm.terminal import PlainConsole

    return PlainConsole(stderr=stderr, markup=False, highlight=False, emoji=False)


def open_missing_streams() -> None:
    """Where stdout or stderr was closed by whoever started us (`>&-`): what would be written there goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # for good


def drop_output() -> None:
    """After a broken pipe: nobody reads stdout any more, and Python would complain of it once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # a stream that is no file
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def open_view(as_json: bool) -> View:
    """Live on a terminal, else plain lines; on stderr when stdout is for a document or a table."""
    from tunefarm.view import LiveView, PlainView

    terminal = console(stderr=as_json)
    if terminal.is_terminal:
        return LiveView(terminal)
    stream = sys.stderr if as_json else sys.stdout

    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    return PlainView(write)


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """The folder, made if missing and known to be writable; what was made and stayed empty is removed.

    Raises InvalidInput.
    """
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=".tunefarm-", dir=folder):
                pass
        except OSError as error:
            raise InvalidInput(f"cannot write to the output folder {folder}: {error.strerror}") from error
        yield folder
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # not empty, or never made
                path.rmdir()
