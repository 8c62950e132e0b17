"""The worker's side of the gate: compute only while the agent on the same host hands out permits.

Newline-delimited JSON over the agent's Unix socket, one permit for each connection. A permit expires unless it
is renewed, and the agent then kills its holder: a worker that is stopped or stuck can't spoil a measurement.
A gate that does not answer (no agent, an agent that restarts) is passed without a permit.
Long work asks now and then whether its permit is wanted back (`HostGates.breathe`).
"""

import contextlib
import json
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunefarm_coordinator.compute.messages import Gate

log = logging.getLogger(__name__)

TTL_SECONDS = 30.0
CONNECT_SECONDS = 2.0
# So long a permit is worked with before it is given back in the middle of something.
TURN_SECONDS = 0.15
_GRANTED, _WANTED = b'"granted"', b'"wanted"'


def host_id() -> str:
    """Identity of the running host, the same in all of its containers."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class PermitConnection:
    """One gate: connects on first use, and again whenever the agent has gone away in between."""

    def __init__(self, path: str, ttl: float = TTL_SECONDS) -> None:
        self._path = path
        self._ttl = ttl
        self._socket: socket.socket | None = None
        self._sending = threading.Lock()
        self._held = threading.Event()
        self._wanted = False

    @property
    def held(self) -> bool:
        """Whether a permit is held."""
        return self._held.is_set()

    def acquire(self, until: float) -> bool:
        """Waits for a permit; False where the gate can't be reached: go on without.

        With a permit in hand it returns at once. Raises TimeoutError where none has come at `until` (monotonic).
        """
        if self._held.is_set():
            return True
        for _ in range(2):  # the agent may have been restarted since the last permit
            if self._request_permit(until):
                self._held.set()
                return True
        return False

    def wanted(self) -> bool:
        """Whether the agent has asked for the permit back. Never waits."""
        current = self._socket
        if not self._held.is_set() or current is None:
            return False
        poll = select.poll()
        poll.register(current, select.POLLIN)
        with contextlib.suppress(OSError):
            self._wanted = self._wanted or (bool(poll.poll(0)) and _WANTED in current.recv(4096))
        return self._wanted

    def renew(self) -> None:
        """Prolongs the permit; nothing without one."""
        if self._held.is_set():
            self._tell({"op": "renew", "ttl": self._ttl})

    def release(self) -> None:
        """Gives the permit back; nothing without one."""
        if self._held.is_set():
            self._held.clear()
            self._tell({"op": "release"})

    def close(self) -> None:
        """Ends the connection, and the permit with it."""
        self._held.clear()
        with self._sending:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _request_permit(self, until: float) -> bool:
        if self._socket is None and not self._connect():
            return False
        cores = sorted(os.sched_getaffinity(0))
        request = {"op": "acquire", "ttl": self._ttl, "cores": cores, "breathes": True}
        return self._tell(request) and self._wait_until_granted(until)

    def _connect(self) -> bool:
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fresh.settimeout(CONNECT_SECONDS)
        try:
            fresh.connect(self._path)
        except OSError as error:
            fresh.close()
            log.debug("gate not reachable", extra={"gate": self._path, "error": str(error)})
            return False
        fresh.settimeout(None)
        self._socket = fresh
        return True

    def _tell(self, message: dict[str, Any]) -> bool:
        with self._sending:
            current = self._socket
            if current is None:
                return False
            try:
                current.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                current.close()
                self._socket = None
                return False
            return True

    def _wait_until_granted(self, until: float) -> bool:
        current = self._socket
        received = b""
        # Before it there may be a word about the last permit, behind it one about this one.
        while current is not None and _GRANTED not in received:
            # `poll`, because a socket's own timeout would count for its sender too, which is another thread.
            poll = select.poll()
            poll.register(current, select.POLLIN)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError("the gate is closed")
            try:
                chunk = current.recv(4096)
            except OSError:
                chunk = b""
            if not chunk:
                self.close()
                return False
            received += chunk
        self._wanted = _WANTED in received.partition(_GRANTED)[2]
        return _GRANTED in received


class HostGates:
    """The gates of this host, as one: computing needs a permit of each. For one thread that computes.

    A thread of its own renews the permits while they are held; it ends with the process.
    """

    def __init__(self, gates: Sequence[Gate] = (), ttl: float = TTL_SECONDS, turn: float = TURN_SECONDS) -> None:
        """`ttl`, `turn`: seconds, see `TTL_SECONDS` and `TURN_SECONDS`."""
        self._host_id = host_id()
        self._ttl = ttl
        self._turn = turn
        self._connections: dict[str, PermitConnection] = {}
        self._renewer: threading.Thread | None = None
        self._stopped = threading.Event()
        self._since = 0.0
        self.set(gates)

    def set(self, gates: Sequence[Gate]) -> None:
        """The gates that exist now, of any host. Permits of a gate that is gone are given up."""
        here = {gate.socket for gate in gates if gate.host_id == self._host_id}
        for path in set(self._connections) - here:
            self._connections.pop(path).close()
        for path in here - set(self._connections):
            self._connections[path] = PermitConnection(path, self._ttl)
        if self._connections and self._renewer is None:
            self._renewer = threading.Thread(target=self._renew, name="permit renewal", daemon=True)
            self._renewer.start()

    def acquire(self, seconds: float) -> bool:
        """Waits for so long until every reachable gate has given a permit. False where one has not: none is held."""
        until = time.monotonic() + seconds
        try:
            # One order for all workers, so that no two wait for each other.
            for path in sorted(self._connections):
                self._connections[path].acquire(until)
        except TimeoutError:
            # Closed, not given back: a permit that is granted this moment would be taken for the next one's.
            for connection in self._connections.values():
                connection.close()
            return False
        self._since = time.monotonic()
        return True

    def breathe(self) -> None:
        """In the middle of long work: where timing waits for it, and it has had its turn, lets timing go first. Returns
        once computing may go on, however long that takes."""
        if time.monotonic() - self._since < self._turn:
            return
        if any(connection.wanted() for connection in self._connections.values()):
            self.release()
            while not self.acquire(self._ttl):
                pass

    def release(self) -> None:
        """Gives all permits back."""
        for connection in self._connections.values():
            connection.release()

    def close(self) -> None:
        """Ends all connections and the renewal."""
        self._stopped.set()
        self.set(())

    def _renew(self) -> None:
        while not self._stopped.wait(self._ttl / 3):
            for connection in list(self._connections.values()):
                connection.renew()
