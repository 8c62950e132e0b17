"""Text that others chose (names, notes, messages), made safe for a terminal: it can't move the cursor or break lines.

For what people read. JSON needs none of it: it escapes such characters by itself.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


def printable(text: str) -> str:
    r"""On one line, and nothing in it but what is seen: a break is a space, any other invisible character (control
    codes, marks that turn the direction of writing) is written out, as in `\x1b`."""
    return text if text.isprintable() else "".join(_shown(character) for character in text)


def printable_lines(text: str) -> str:
    """As `printable`, line by line."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable_value(value: Value) -> Value:
    """The value with every text in it printable; values of this package's kinds: dataclasses, tuples, mappings."""
    made: Any = value
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        made = printable(value)
    elif isinstance(value, tuple | list):
        made = type(value)(printable_value(item) for item in value)
    elif isinstance(value, Mapping):
        made = {printable_value(key): printable_value(item) for key, item in value.items()}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        shown = {name: printable_value(item) for name, item in fields.items()}
        made = dataclasses.replace(value, **shown) if shown != fields else value
    shown_value: Value = made
    return shown_value


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode("ascii")
