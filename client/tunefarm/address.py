"""Addresses of coordinators: `host:port`, and which of them never leave this machine."""

from __future__ import annotations

import dataclasses
import ipaddress

from tunefarm.errors import InvalidInput

DEFAULT_PORT = 7700


@dataclasses.dataclass(frozen=True)
class Address:
    """A coordinator's host (a name or an IP address, without brackets) and port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """`HOST`, `HOST:PORT`, `[IPV6]:PORT` -> Address; without a port, 7700. Raises InvalidInput."""
    wrong = InvalidInput(f"{text!r} is not an address: write HOST:PORT, for example farm:{DEFAULT_PORT}")
    rest = text.strip()
    if rest.startswith("["):
        host, closed, rest = rest[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise wrong
        port = rest[1:]
    elif rest.count(":") > 1:  # a bare IPv6 address
        host, port = rest, ""
    else:
        host, _, port = rest.partition(":")
    if not host or any(c.isspace() or c in "/@" for c in host):
        raise wrong
    if port == "" and not text.strip().endswith(":"):
        return Address(host, DEFAULT_PORT)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise wrong
    return Address(host, int(port))
