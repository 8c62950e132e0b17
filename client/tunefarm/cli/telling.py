"""Progress of commands that may take long, or a moment."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tunefarm.cli.output import console, open_view

if TYPE_CHECKING:
    from tunefarm.cli.parameters import Reach
    from tunefarm.client import Client
    from tunefarm.view import View

# What is over sooner shows no progress.
SHORT_SECONDS = 2.0
_TICK_SECONDS = 0.2
_PLAIN_TICK_SECONDS = 5.0
_BAR_WIDTH = 20


@contextlib.contextmanager
def session(reach: Reach, *, agent: bool = False) -> Iterator[tuple[Client, Callable[[Callable[[], str]], None]]]:
    """A client, and what tells of its progress once that is worth it."""
    with contextlib.ExitStack() as opened:
        view = open_view(as_json=True)
        embedded = reach.connect is None  # then there is something to tell at once
        if embedded:
            opened.enter_context(view)
        client = opened.enter_context(reach.client(agent=agent, view=view if embedded else None))
        yield client, Telling(view, opened, shown=embedded)


@dataclasses.dataclass
class Telling:
    """Progress on stderr: drawn in place on a terminal, else a line now and then; nothing in the first two seconds."""

    view: View
    opened: contextlib.ExitStack
    shown: bool

    def __post_init__(self) -> None:
        self._due = time.monotonic() + SHORT_SECONDS

    def __call__(self, text: Callable[[], str]) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        if not self.shown:
            self.opened.enter_context(self.view)
            self.shown = True
        terminal = console(stderr=True).is_terminal
        self._due = now + (_TICK_SECONDS if terminal else _PLAIN_TICK_SECONDS)
        self.view.notice(text())


def bar(done: int, total: int) -> str:
    """How much of it is done, as a bar and in per cent."""
    share = min(done / total, 1.0)
    full = round(share * _BAR_WIDTH)
    return f"{'━' * full}{'╌' * (_BAR_WIDTH - full)} {share:4.0%}"
