"""rich's console, careful with what others wrote."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tunefarm.printable import printable_lines


class PlainConsole(Console):
    """Shows characters that a terminal would obey instead of sending them, whatever rendered them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)
