"""Following a job on a terminal, or line by line where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from tunefarm.formats import duration, failures, milliseconds, size
from tunefarm.job import Job, JobState
from tunefarm.printable import printable, printable_value
from tunefarm.rendering import STAGES, progress_lines

PLAIN_SECONDS = 5.0


class View(Protocol):
    """What a command tells while it works; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def notice(self, text: str) -> None:
        """What goes on now."""

    def remark(self, text: str) -> None:
        """What should be read, whatever comes next."""

    def transferred(self, done: int, total: int) -> None:
        """Bytes of the model sent so far."""

    def update(self, job: Job) -> None:
        """The job as it is now."""


class LiveView:
    """Draws in place, and again several times a second, so that its clock moves while nothing comes."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started = clock()
        self._text = "starting"
        self._job: Job | None = None
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def notice(self, text: str) -> None:
        self._text = printable(text)
        self._job = None

    def remark(self, text: str) -> None:
        self._console.print(printable(text))

    def transferred(self, done: int, total: int) -> None:
        self._text = f"sending the model: {size(done)} of {size(total)}"

    def update(self, job: Job) -> None:
        self._job = printable_value(job)

    def render(self) -> RenderableType:
        """The view now."""
        elapsed = self._clock() - self._started
        if self._job is None:
            return Text(f"{self._text}  {duration(elapsed)}", no_wrap=True, overflow="ellipsis")
        return progress_lines(self._job, elapsed, width=self._console.width, height=self._console.height)


class PlainView:
    """One line for each change of stage, and about every five seconds between them."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._started = clock()
        self._last = float("-inf")
        self._state: JobState | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def notice(self, text: str) -> None:
        self._line(text)

    def remark(self, text: str) -> None:
        self._line(text)

    def transferred(self, done: int, total: int) -> None:
        if self._due():
            self._line(f"sending the model: {size(done)} of {size(total)}")

    def update(self, job: Job) -> None:
        if job.state is not self._state or self._due():
            self._state = job.state
            self._line(progress_text(job))

    def _due(self) -> bool:
        return self._clock() - self._last >= PLAIN_SECONDS

    def _line(self, text: str) -> None:
        self._last = self._clock()
        self._write(f"[{duration(self._last - self._started):>6}] {printable(text)}\n")


def progress_text(job: Job) -> str:
    """A job's progress on one line."""
    parts = [STAGES[job.state]]
    if job.trials.budget:
        parts.append(f"{job.trials.charged}/{job.trials.budget} trials")
    if job.state is JobState.TUNING:
        parts.append(f"{job.trials_per_second:.1f}/s")
    if job.estimated_latency_ms is not None:
        parts.append(f"model about {milliseconds(job.estimated_latency_ms)}")
    if job.trials.failed:
        parts.append(f"failed: {failures(dict(job.trials.failed))}")
    if job.seconds_left is not None and not job.state.terminal:
        parts.append(f"{duration(job.seconds_left)} left")
    return ", ".join(parts)
