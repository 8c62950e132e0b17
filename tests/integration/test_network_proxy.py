"""The proxy that other tests trust."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.network_proxy import NetworkProxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        while data := connection.recv(4096):
            connection.sendall(data)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def exchange(connection: socket.socket) -> float:
    """Seconds from a byte to its echo."""
    began = time.monotonic()
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    return time.monotonic() - began


def ended(connection: socket.socket) -> bool:
    """Whether the other end is gone."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def connect(proxy: NetworkProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def test_delay_goes_both_ways(echo: int) -> None:
    with NetworkProxy("127.0.0.1", echo, delay_seconds=0.02) as proxy, connect(proxy) as connection:
        assert exchange(connection) >= 0.04


def test_a_stalled_link_goes_on_where_it_was(echo: int) -> None:
    with NetworkProxy("127.0.0.1", echo) as proxy, connect(proxy) as connection:
        exchange(connection)
        proxy.stall()
        connection.settimeout(0.05)
        connection.sendall(b"x")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.go_on()
        connection.settimeout(5)
        assert connection.recv(1) == b"x"


def test_a_cut_link_ends_and_turns_away(echo: int) -> None:
    with NetworkProxy("127.0.0.1", echo) as proxy:
        with connect(proxy) as connection:
            exchange(connection)
            proxy.cut()
            assert ended(connection)
        with connect(proxy) as connection:
            assert ended(connection)
        proxy.go_on()
        with connect(proxy) as connection:
            exchange(connection)
