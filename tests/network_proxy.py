"""A TCP proxy for tests: a link that is slow, stalls, or is cut, in user space (this kernel has no netem)."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_CHUNK = 64 << 10

Result = TypeVar("Result")


class NetworkProxy:
    """Use as `with NetworkProxy(host, port) as proxy`, and connect to 127.0.0.1 at `proxy.port`.

    It has a thread and an event loop of its own, so that it serves synchronous code, and its delays are its own.
    """

    def __init__(
        self, host: str, port: int, delay_seconds: float = 0.0, listen_host: str = "127.0.0.1", listen_port: int = 0
    ) -> None:
        """`delay_seconds`: what every byte waits, in each direction; the link's bandwidth is not limited."""
        self.port = listen_port
        self._target = (host, port)
        self._delay = delay_seconds
        self._listen_host = listen_host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._flows = asyncio.Event()
        self._open = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> "NetworkProxy":
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lead_to(self, port: int) -> None:
        """New connections go to this port of the same host."""
        self._target = (self._target[0], port)

    def stall(self) -> None:
        """Nothing goes through, and no connection ends: a cable that was pulled."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def go_on(self) -> None:
        """Everything goes through again, what waited first."""

        def opened() -> None:
            self._open = True
            self._flows.set()

        self._loop.call_soon_threadsafe(opened)

    def cut(self) -> None:
        """Every connection ends at once, and new ones are turned away until `go_on`."""
        self._call(self._cut())

    def _call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _start(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._serve, self._listen_host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._open = False
        for writer in list(self._writers):
            writer.transport.abort()

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        self._flows.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        finally:
            for each in (writer, back):
                self._writers.discard(each)
                each.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """One direction. What was read waits its time while more is read: the delay costs no bandwidth."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(under_way, sink))
        try:
            while True:
                chunk = await source.read(_CHUNK)
                under_way.put_nowait((self._loop.time() + self._delay, chunk))
                if not chunk:
                    break
            await delivery
        except OSError:
            pass
        finally:
            delivery.cancel()

    async def _deliver(self, under_way: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            await self._flows.wait()
            if not chunk:
                with contextlib.suppress(OSError):
                    sink.write_eof()
                return
            sink.write(chunk)
            await sink.drain()
