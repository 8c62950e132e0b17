"""One life of the compute child, as the coordinator sees it: start, requests in flight, end."""

import asyncio
import collections
import contextlib
import itertools
import logging
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunefarm_coordinator.compute import framing
from tunefarm_coordinator.compute.messages import ComputeLost, Gate, Request
from tunefarm_coordinator.compute.process_session import end_session
from tunefarm_coordinator.compute.settings import (
    Answer,
    Ask,
    Cancel,
    ComputeSettings,
    Ping,
    Ready,
    Setup,
    Started,
    Stopping,
)

log = logging.getLogger(__name__)

# The guard takes up to its own grace period on a cluster, and next to nothing for a private Ray.
STOP_SECONDS = 15.0
# In a row without an answer. Counted, not timed: a coordinator that stood still itself must not blame its child.
LOST_PINGS = 6
LAST_LINES = 5


class Child:
    """A running compute child. `session`: Unix session of the Ray driver, None until it has said so."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        folder: Path,
        timeout: float,
    ) -> None:
        """`timeout`: see `ComputeSettings.child_timeout`."""
        self.session: int | None = None
        self.ready = False
        self._process = process
        self._reader, self._writer = streams
        self._folder = folder
        self._timeout = timeout
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._said: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._listening = asyncio.create_task(self._listen())
        self._stopping = ""
        self._unanswered = 0

    @classmethod
    async def start(cls, settings: ComputeSettings, gates: tuple[Gate, ...]) -> "Child":
        """Starts a child; it is of use at once, and ready later. Raises OSError."""
        folder = Path(tempfile.mkdtemp(prefix="tunefarm-", dir=settings.temp_dir))
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tunefarm_coordinator.compute", str(theirs.fileno()), str(folder)),
                pass_fds=[theirs.fileno()],
                # Its end tells the child that we are gone, however that came about.
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError:
            ours.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            theirs.close()
        child = cls(process, await framing.open_streams(ours), folder, settings.child_timeout)
        child._send(Setup(settings, folder, gates))
        return child

    @property
    def ending(self) -> bool:
        """Whether it takes no requests any more: what is asked for now is the next child's."""
        return self._writer.is_closing()

    async def ask(self, request: Request) -> Any:
        """The answer to a request. Raises what the child answers with, and ComputeLost."""
        if self.ending:
            raise ComputeLost("the compute child is gone")
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._send(Ask(number, request))
        try:
            return await answer
        except asyncio.CancelledError:
            self._send(Cancel(number))
            raise
        finally:
            self._waiting.pop(number, None)

    async def serve(self, on_ready: Callable[[str], None]) -> str:
        """Passes answers on until the child ends; then clears up after it, and returns why it ended."""
        pinging = asyncio.create_task(self._ping())
        try:
            await self._receive(on_ready)
        finally:
            pinging.cancel()
            await self._end()
        reason = self._stopping or self._last_words()
        self._lose(reason)
        return reason

    def stop(self, reason: str = "it was closed") -> None:
        """Has the child end; `serve` returns when it has."""
        self._stopping = self._stopping or reason
        self._writer.close()

    async def _receive(self, on_ready: Callable[[str], None]) -> None:
        with contextlib.suppress(framing.BrokenFrame):  # killed while it wrote
            while (message := await framing.read(self._reader)) is not None:
                if isinstance(message, Answer):
                    self._resolve(message)
                elif isinstance(message, Started):
                    self.session = message.pid
                elif isinstance(message, Ready):
                    self.ready = True
                    on_ready(message.detail)
                elif isinstance(message, Ping):
                    self._unanswered = 0
                elif isinstance(message, Stopping):
                    self._stopping = message.reason

    async def _ping(self) -> None:
        """Ends a child that stands still, or whose Ray does not come up."""
        while self._unanswered < LOST_PINGS:
            self._unanswered += 1
            self._send(Ping())
            await asyncio.sleep(self._timeout / LOST_PINGS)
        self.stop(f"it said nothing for {self._timeout:g} s")

    def _resolve(self, answer: Answer) -> None:
        waiting = self._waiting.get(answer.number)
        if waiting is None or waiting.done():
            return
        if answer.error is not None:
            waiting.set_exception(answer.error)
        else:
            waiting.set_result(answer.value)

    def _lose(self, reason: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ComputeLost(f"the compute child ended: {reason}"))

    def _send(self, message: object) -> None:
        if not self._writer.is_closing():
            self._writer.write(framing.encode(message))

    async def _end(self) -> None:
        self._writer.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        # The guard has done this already, unless it was itself killed.
        if self.session is not None and not await asyncio.to_thread(end_session, self.session):
            log.error("processes of the compute child don't end", extra={"unix_session": self.session})
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        await self._listening
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            if text:
                self._said.append(text)
                log.debug("compute: %s", text)

    def _last_words(self) -> str:
        said = f", last words: {' | '.join(self._said)}" if self._said else ""
        return f"exit code {self._process.returncode}{said}"
