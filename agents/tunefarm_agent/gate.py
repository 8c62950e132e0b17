"""The gate's server: workers on this host ask here, over a Unix socket, for permits to compute.

Newline-delimited JSON. From a worker: {"op": "acquire", "ttl": s, "cores": [...]}, {"op": "renew", "ttl": s},
{"op": "release"}; to it: {"op": "granted"} and, where it said "breathes": true when it acquired, {"op": "wanted"}:
timing waits for its permit, it may give it back in the middle of its work. A closed connection releases its permit; a
permit that expires costs its worker its life, as it may be computing into a measurement.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Protocol

import structlog

from tunefarm_agent.confinement import kill
from tunefarm_agent.gate_state import Gate

_LONGEST_TTL = 3600.0
# A Unix socket's path may have at most 107 bytes.
_LONGEST_PATH = 100

_log = structlog.get_logger()


def host_id() -> str:
    """Names this running host: both sides of the gate compare it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class TimingGate(Protocol):
    """Is closed while a device times something that others on this host's cores would disturb."""

    def closed(self) -> contextlib.AbstractAsyncContextManager[None]: ...


class NoGate:
    """Of a device whose times nobody on this host disturbs: a board, or a GPU whose host thread has its own core."""

    @contextlib.asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        yield


class GateServer:
    """Serves permits; lends the closed gate to timed sections, one at a time."""

    def __init__(self, reserved: Iterable[int], state_dir: Path) -> None:
        self._gate = Gate(frozenset(reserved))
        self._folder = _socket_folder(state_dir)
        self.path = self._folder / "gate.sock"
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._pids: dict[int, int] = {}
        self._breathing: set[int] = set()
        self._next = 0
        self._changed = asyncio.Event()
        self._timing = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        self._watch = asyncio.create_task(self._watch_expiry())

    async def stop(self) -> None:
        """Close every connection and remove the socket."""
        if self._watch is not None:
            self._watch.cancel()
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers.values()):
            writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Timing without our own workers on the reserved cores. May wait as long as permits are out."""
        async with self._timing:
            self._gate.close()
            self._ask_back(self._gate.holders())
            try:
                while not self._gate.may_time():
                    self._changed.clear()
                    await self._changed.wait()
                yield
            finally:
                self._tell(self._gate.open(_now()))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._next += 1
        worker = self._next
        self._writers[worker] = writer
        self._pids[worker] = _peer(writer)
        try:
            while line := await reader.readline():
                self._handle(worker, json.loads(line))
        except ConnectionResetError:
            # It ended, with a word of ours unread.
            pass
        except (ValueError, TypeError, KeyError, ConnectionError) as error:
            _log.warning("gate: a worker was turned away", pid=self._pids[worker], error=repr(error))
        except asyncio.CancelledError:
            # Only at the end of the agent: the connection ends like any other.
            pass
        finally:
            self._drop(worker)
            writer.close()

    def _handle(self, worker: int, request: dict[str, object]) -> None:
        match request["op"]:
            case "acquire":
                cores = request["cores"]
                if not isinstance(cores, list):
                    raise TypeError("cores is not a list")
                if request.get("breathes"):
                    self._breathing.add(worker)
                self._tell(self._gate.acquire(worker, frozenset(map(int, cores)), _ttl(request), _now()))
            case "renew":
                self._gate.renew(worker, _ttl(request), _now())
            case "release":
                self._tell(self._gate.release(worker, _now()))
            case other:
                raise ValueError(f"no such request: {other!r}")
        self._changed.set()

    def _tell(self, granted: list[int]) -> None:
        for worker in granted:
            self._writers[worker].write(b'{"op":"granted"}\n')
        if self._gate.closing:
            self._ask_back(granted)
        self._changed.set()

    def _ask_back(self, workers: list[int]) -> None:
        """Timing waits for them, as long as each of them takes for what it is at."""
        for worker in workers:
            if worker in self._breathing:
                self._writers[worker].write(b'{"op":"wanted"}\n')

    def _drop(self, worker: int) -> None:
        self._writers.pop(worker, None)
        self._pids.pop(worker, None)
        self._breathing.discard(worker)
        self._tell(self._gate.release(worker, _now()))

    async def _watch_expiry(self) -> None:
        while True:
            due = self._gate.next_expiry()
            # Renewals only move the next expiry away; a new permit may bring one nearer.
            pause = 1.0 if due is None else min(1.0, max(0.0, due - _now()))
            await asyncio.sleep(pause)
            for worker in self._gate.expired(_now()):
                pid = self._pids[worker]
                _log.warning("gate: a permit expired, its worker is killed", pid=pid)
                # 0: a peer of another PID namespace, which can't be reached.
                if pid not in (0, os.getpid()):
                    kill(pid)
                self._writers[worker].close()
                self._drop(worker)


def _ttl(request: dict[str, object]) -> float:
    ttl = float(str(request["ttl"]))
    if not 0 < ttl <= _LONGEST_TTL:
        raise ValueError(f"ttl is not between 0 and {_LONGEST_TTL:g} s: {ttl:g}")
    return ttl


def _peer(writer: asyncio.StreamWriter) -> int:
    """The process at the other end."""
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", peer)[0]
    return pid


def _socket_folder(state_dir: Path) -> Path:
    folder = state_dir / "gate"
    if len(bytes(folder)) <= _LONGEST_PATH - len("/gate.sock"):
        return folder
    return Path(tempfile.mkdtemp(prefix="tunefarm-gate-"))


def _now() -> float:
    return asyncio.get_running_loop().time()
