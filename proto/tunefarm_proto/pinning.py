"""Whom to trust at an address, for whoever has nothing but the address and a token: users' programs and boards."""

import hashlib
import hmac
import ssl
from typing import Any, cast

import grpc

from tunefarm_proto.trust import COORDINATOR, Token
from tunefarm_proto.v1 import access_pb2, access_pb2_grpc

# Channel arguments of whoever trusts an authority.
SECURE_OPTIONS = (("grpc.ssl_target_name_override", COORDINATOR),)


class NoAnswer(Exception):
    """Nobody answers at the address."""


class NoTls(Exception):
    """Whoever answers there speaks no TLS."""


class OtherFarm(Exception):
    """Whoever answers there has another authority than the token names."""


def fetch_authority(host: str, port: int, token: Token, seconds: float) -> bytes:
    """The certificate (PEM) of the farm's authority, from the coordinator at this address, if it is the one that the
    token names. The token's secret is not sent.

    `seconds`: for each of the two steps. Raises NoAnswer, NoTls, OtherFarm.
    """
    try:
        # Whatever certificate is shown is good enough to ask for the authority's: that one is checked.
        shown = ssl.get_server_certificate((host, port), timeout=seconds)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise NoAnswer("it closed the connection; perhaps it has too many") from error
    except ssl.SSLError as error:
        raise NoTls(str(error)) from error
    except OSError as error:
        raise NoAnswer(str(error)) from error
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    credentials = grpc.ssl_channel_credentials(shown.encode())
    with grpc.secure_channel(where, credentials, options=SECURE_OPTIONS) as channel:
        stub = cast(Any, access_pb2_grpc).AccessServiceStub(channel)
        try:
            certificate = stub.GetAuthority(access_pb2.GetAuthorityRequest(), timeout=seconds).certificate
        except grpc.RpcError as error:
            raise NoAnswer(str(cast(grpc.Call, error).details())) from error
    try:
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()
    except ValueError:
        digest = ""
    if not hmac.compare_digest(digest, token.authority):
        raise OtherFarm(f"its authority is {digest or 'none'}")
    return str(certificate).encode()
