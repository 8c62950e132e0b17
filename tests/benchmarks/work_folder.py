"""Where a benchmark keeps what it makes: a folder of its own for every run."""

import argparse
import tempfile
from pathlib import Path


def add_work_option(parser: argparse.ArgumentParser) -> None:
    """`--work FOLDER`, for a folder that is not there yet."""
    parser.add_argument("--work", type=Path, help="folder to make and work in; default: a new bench-* here")


def work_folder(parser: argparse.ArgumentParser, given: Path | None) -> Path:
    """The folder, made now. Ends the program if the one that was named is there: results of two runs never mix."""
    if given is None:
        return Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd()))
    try:
        given.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"--work {given} is there already: remove it, or name another")
    return given
