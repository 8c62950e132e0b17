"""Channels to a coordinator: what they refuse, how they retry, and when nobody answers."""

from __future__ import annotations

import json
from typing import Any

import grpc

from tunefarm.address import Address
from tunefarm.errors import InvalidInput, Unreachable

CONNECT_SECONDS = 4.0
_MESSAGE_BYTES = 64 * 2**20
_UNARY = {
    "TuningService": ("GetModel", "PlanJob", "SubmitJob", "GetJob", "ListJobs", "CancelJob"),
    "FarmService": ("ListDevices",),
    "ScheduleService": ("QueryBest",),
}

# gRPC's own retries (gRFC A6), of unary calls only: each is idempotent, so that a retry is always safe.
# Never of an upload: a retried client stream aborts the whole process in grpcio 1.85.1 ("ILLEGAL STATE:
# FORWARDED_BATCH"). Streams are repeated or resumed by their callers (`transfer.py`, `watching.py`).
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": f"tunefarm.v1.{service}", "method": method}
                    for service, methods in _UNARY.items()
                    for method in methods
                ],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def _options(address: Address) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),  # a peer that lost its power is noticed within 40 s
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if address.is_loopback:
        options.append(("grpc.enable_http_proxy", 0))
    return options


def check_plain_text(address: Address, insecure: bool) -> None:
    """Raises InvalidInput where models and tokens would cross a network in plain text without consent."""
    if not (address.is_loopback or insecure):
        raise InvalidInput(
            f"{address} is on another machine, and the connection would be plain text: "
            f"allow it with --insecure (SDK: insecure=True) on a network that you trust, "
            f"or tunnel to a loopback address"
        )


def open_channel(address: Address, *, insecure: bool = False) -> grpc.Channel:
    """A channel that is connected. TLS has its place here: `grpc.secure_channel` with the same options.

    Raises InvalidInput (plain text off loopback without `insecure`) and, within CONNECT_SECONDS,
    Unreachable.
    """
    check_plain_text(address, insecure)
    channel = grpc.insecure_channel(str(address), options=_options(address))
    if not _answers(channel, CONNECT_SECONDS):
        channel.close()
        raise Unreachable(
            f"no coordinator answers at {address}: check the address, and that `tunefarm serve` runs there"
        )
    return channel


def _answers(channel: grpc.Channel, seconds: float) -> bool:
    """Whether a gRPC server is there: asked for its health, any answer of its own will do.

    A refused connection is known at once. (Watching the channel's connectivity says the same, but its
    polling thread makes every `close` wait.)
    """
    ask = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        ask(b"", timeout=seconds)  # an empty HealthCheckRequest: the server as a whole
    except grpc.RpcError as error:
        return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return True
