"""Channels to a coordinator: what they refuse, how they retry, and when nobody answers."""

from __future__ import annotations

import json
from typing import Any

import grpc

from tunefarm.address import Address
from tunefarm.errors import Denied, InvalidInput, Unreachable
from tunefarm_proto.pinning import SECURE_OPTIONS, NoAnswer, NoTls, OtherFarm, fetch_authority
from tunefarm_proto.trust import Token, parse_token

CONNECT_SECONDS = 4.0
# HealthCheckResponse with its only field, `status`, at SERVING.
_SERVING = b"\x08\x01"
_MESSAGE_BYTES = 64 * 2**20
_UNARY = {
    "TuningService": ("GetModel", "PlanJob", "SubmitJob", "GetJob", "ListJobs", "CancelJob"),
    "FarmService": ("ListDevices", "DrainDevice", "ResumeDevice"),
    "ScheduleService": ("QueryBest", "GetScheduleStats"),
    "AccessService": ("GetAuthority", "ListAgents", "RevokeAgent", "ListTokens", "RevokeToken"),
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


def check_security(address: Address, token: str | None, insecure: bool) -> None:
    """Raises InvalidInput where models would cross a network in plain text without consent."""
    if parse_token(token or "") is not None or address.is_loopback or insecure:
        return
    if token is not None:
        raise InvalidInput(
            "the token is none of a tunefarm coordinator's (tft_...): was all of it copied? "
            "The farm's admin makes one with `tunefarm farm token create`"
        )
    raise InvalidInput(
        f"{address} is on another machine, and without a token nobody knows whom to trust there: give --token "
        f"(SDK: token=) from the farm's admin, or allow plain text with --insecure (SDK: insecure=True) on a network "
        f"that you trust"
    )


def open_channel(address: Address, *, token: str | None = None, insecure: bool = False) -> grpc.Channel:
    """A channel that is connected: TLS where a token says whom to trust, else plain.

    Raises InvalidInput (see check_security), Denied (whoever answers is not the token's farm) and, within
    CONNECT_SECONDS, Unreachable.
    """
    check_security(address, token, insecure)
    named = parse_token(token or "")
    if named is None:
        channel = grpc.insecure_channel(str(address), options=_options(address))
    else:
        channel = _secure_channel(address, _authority(address, named))
    if not _answers(channel, CONNECT_SECONDS):
        channel.close()
        raise _unreachable(address, plain=named is None)
    return channel


def _authority(address: Address, token: Token) -> bytes:
    """The certificate (PEM) of the farm's authority, from the coordinator itself, if it is the one that the token
    names. The token's secret is not sent before that is known. Raises Denied, Unreachable."""
    try:
        return fetch_authority(address.host, address.port, token, CONNECT_SECONDS)
    except NoAnswer as error:
        raise _unreachable(address) from error
    except NoTls as error:
        raise Denied(
            f"{address} does not speak TLS: a coordinator that speaks plain text takes no token; leave it out "
            "(and unset TUNEFARM_TOKEN) if that is the one you mean"
        ) from error
    except OtherFarm as error:
        raise Denied(
            f"the coordinator at {address} is not of the farm that this token is for: its certificate authority is "
            "another, and the token was not sent. Check the address, or ask the farm's admin for a new token"
        ) from error


def _secure_channel(address: Address, authority: bytes) -> grpc.Channel:
    options = [*_options(address), *SECURE_OPTIONS]
    return grpc.secure_channel(str(address), grpc.ssl_channel_credentials(authority), options=options)


def _unreachable(address: Address, plain: bool = False) -> Unreachable:
    return Unreachable(
        f"no coordinator answers at {address}: check the address, and that `tunefarm serve` runs there"
        + ("; one that speaks TLS answers only with a --token of its farm" if plain else "")
    )


def _answers(channel: grpc.Channel, seconds: float) -> bool:
    """Whether a gRPC server is there: asked for its health, any answer of its own will do.

    A refused connection is known at once. (Watching the channel's connectivity says the same, but its
    polling thread makes every `close` wait.)
    """
    try:
        _health(channel, seconds)
    except grpc.RpcError as error:
        return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return True


def serves(channel: grpc.Channel, seconds: float = CONNECT_SECONDS) -> bool:
    """Whether the server says of itself that it does its work. Raises grpc.RpcError where it says nothing."""
    return _health(channel, seconds) == _SERVING


def _health(channel: grpc.Channel, seconds: float) -> bytes:
    """The server's health as a whole: a serialised HealthCheckResponse, whose service is not among our dependencies."""
    ask = channel.unary_unary("/grpc.health.v1.Health/Check")
    reply: bytes = ask(b"", timeout=seconds)
    return reply
