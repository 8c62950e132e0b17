"""What the documentation quotes is what the programs say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "gpu.md").read_text()
# What stands for something else in a quoted message, and what joins messages of two authors.
_GAPS = re.compile(r"\.\.\.|\bN\.Nx|\bN\b|\d+(?:\.\d+)?|[{}\[\]]|(?:: )|(?:; )|^error\b")


def quoted_messages() -> list[str]:
    """The first column of the table of messages, where it quotes."""
    table = GUIDE.partition("| What it says |")[2].partition("\n\n")[0]
    return [found[1] for line in table.splitlines()[2:] if (found := re.match(r"\| `([^`]*)`", line))]


def strings() -> Iterator[str]:
    """Every string in our programs, as it is put together where it stands; what is filled in is left out."""
    for folder in ("client", "coordinator", "agents"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "\0".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


@pytest.fixture(scope="module")
def said() -> str:
    return "\1".join(strings())


@pytest.mark.parametrize("message", quoted_messages())
def test_a_message_that_is_quoted_is_one_of_ours(said: str, message: str) -> None:
    parts = [part.strip() for part in _GAPS.split(message)]
    telling = [part for part in parts if len(part) >= 10]
    assert telling
    assert [part for part in telling if part not in said] == []


def test_there_are_quoted_messages() -> None:
    assert len(quoted_messages()) >= 8
