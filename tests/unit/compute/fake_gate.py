"""An agent's side of the gate, for tests: hands out permits while it is open, and remembers what it was told."""

import contextlib
import json
import queue
import socket
import socketserver
import threading
from pathlib import Path
from typing import Any


class FakeGate:
    """Serves one Unix socket. `told`: (connection number, message) in the order of arrival."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.opened = threading.Event()
        self.opened.set()
        self.told: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        self._connections: list[Any] = []
        gate = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                gate._connections.append(self.request)
                number = len(gate._connections)
                with contextlib.suppress(ConnectionResetError):  # it ended with a word of ours unread
                    for line in self.rfile:
                        message = json.loads(line)
                        gate.told.put((number, message))
                        if message["op"] == "acquire":
                            gate.opened.wait()
                            with contextlib.suppress(OSError):  # the test is over, or ended the connection
                                self.wfile.write(b'{"op":"granted"}\n')
                gate.told.put((number, {"op": "closed"}))

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self._server = Server(self.path, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def want_back(self) -> None:
        """Asks for all permits."""
        for connection in self._connections:
            connection.sendall(b'{"op":"wanted"}\n')

    def next_told(self) -> tuple[int, dict[str, Any]]:
        """The next message, waited for up to 5 seconds."""
        return self.told.get(timeout=5)

    def ops(self, count: int) -> list[str]:
        """The kinds of the next `count` messages."""
        return [self.next_told()[1]["op"] for _ in range(count)]

    def stop(self) -> None:
        """Ends like an agent that is killed: connections break, the socket's file stays."""
        self.opened.set()
        self._server.shutdown()
        self._thread.join()
        for connection in self._connections:
            with contextlib.suppress(OSError):  # its handler may have closed it this moment
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
