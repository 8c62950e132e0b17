"""The channel to the coordinator. The one place where its security is decided."""

import ipaddress

import grpc
import grpc.aio

from tunefarm_agent.credentials import Membership
from tunefarm_agent.errors import InvalidInput
from tunefarm_proto.pinning import SECURE_OPTIONS

_LONGEST_MESSAGE = 64 << 20
_OPTIONS = [
    ("grpc.max_receive_message_length", _LONGEST_MESSAGE),
    ("grpc.max_send_message_length", _LONGEST_MESSAGE),
    # A coordinator that vanished without a word is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # The session has its own backoff: gRPC's must not add minutes to it.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def open_channel(address: str, insecure: bool, membership: Membership | None = None) -> grpc.aio.Channel:
    """A channel to HOST:PORT: mutual TLS with a membership, else plain text.

    Raises InvalidInput: plain text off loopback that was not asked for.
    """
    if membership is not None:
        return grpc.aio.secure_channel(address, membership.credentials, options=[*_OPTIONS, *SECURE_OPTIONS])
    host = host_of(address)
    if not insecure and not is_loopback(host):
        raise InvalidInput(
            f"{address} is not on this machine, and the connection would be plain text: join the farm with the command "
            "that its admin gets from `tunefarm farm invite`, or add --insecure if the network between is trusted"
        )
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def host_of(address: str, option: str = "--connect") -> str:
    """HOST of HOST:PORT. Raises InvalidInput, which names the option."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise InvalidInput(f"{option} takes HOST:PORT, not {address!r}")
    return host.strip("[]")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
