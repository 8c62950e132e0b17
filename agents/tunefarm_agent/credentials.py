"""What makes this agent a member of a farm: its key, the certificate that the farm's authority gave it, and where."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tunefarm_agent.errors import InvalidInput, Refused, Unreachable
from tunefarm_proto.pinning import SECURE_OPTIONS, NoAnswer, NoTls, OtherFarm, fetch_authority
from tunefarm_proto.trust import Token, parse_token
from tunefarm_proto.v1 import access_pb2, access_pb2_grpc

_SECONDS = 15.0


@dataclass(frozen=True)
class Membership:
    """An enrolled agent's papers: key and certificates in PEM, the invite's labels, HOST:PORT where agents attach."""

    address: str
    agent_id: str
    key: str
    certificate: str
    authority: str
    labels: Mapping[str, str]

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority.encode(), self.key.encode(), self.certificate.encode())


def load(state_dir: Path) -> Membership | None:
    """The papers in this state folder, or None where it never joined. Raises InvalidInput: unreadable."""
    file = _file(state_dir)
    if not file.exists():
        return None
    try:
        return Membership(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(f"the membership in {file} can't be read ({error}): join again") from error


def join(address: str, host: str, text: str, agent_id: str, state_dir: Path) -> Membership:
    """Enrol at the coordinator and keep the papers in the state folder, for this user's eyes only.

    `host`: of `address`, HOST:PORT where users call. Raises InvalidInput, Refused, Unreachable.
    """
    token = parse_token(text)
    if token is None or token.kind != "tfj":
        raise InvalidInput("--token is none of an invite (tfj_...): was all of it copied? See `tunefarm farm invite`")
    authority = _authority(address, host, token)
    key = _key(state_dir)
    request = access_pb2.EnrolRequest(token=str(token), agent_id=agent_id, signing_request=_request(key, agent_id))
    with _channel(address, authority) as channel:
        stub = access_pb2_grpc.AccessServiceStub(channel)
        try:
            answer = stub.Enrol(request, timeout=_SECONDS)
        except grpc.RpcError as error:
            raise _refusal(address, error) from error
    bracketed = f"[{host}]" if ":" in host else host
    joined = Membership(
        address=f"{bracketed}:{answer.agent_port}",
        agent_id=agent_id,
        key=_pem(key),
        certificate=answer.certificate,
        authority=authority.decode(),
        labels=dict(answer.labels),
    )
    _keep(_file(state_dir), json.dumps(asdict(joined)))
    return joined


def _authority(address: str, host: str, token: Token) -> bytes:
    """The certificate of the farm's authority, PEM."""
    try:
        return fetch_authority(host, int(address.rpartition(":")[2]), token, _SECONDS)
    except NoAnswer as error:
        raise Unreachable(f"no coordinator answers at {address}: {error}") from error
    except NoTls as error:
        raise Refused(
            f"{address} does not speak TLS, so there is nothing to join: attach with `tunefarm-agent run --connect`"
        ) from error
    except OtherFarm as error:
        raise Refused(
            f"the coordinator at {address} is not of the farm that this invite is for: its certificate authority is "
            "another, and the invite was not sent"
        ) from error


def _channel(address: str, authority: bytes) -> grpc.Channel:
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority), options=SECURE_OPTIONS)


def _refusal(address: str, error: grpc.RpcError) -> Refused | Unreachable:
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Unreachable(f"the coordinator at {address} does not answer: {error.details()}")
    return Refused(f"the coordinator at {address} refused this agent: {error.details()}")


def _key(state_dir: Path) -> ec.EllipticCurvePrivateKey:
    """The agent's key, made before it is first needed: a join that broke off goes on with the same one."""
    file = state_dir / "agent.key"
    if file.exists():
        try:
            key = serialization.load_pem_private_key(file.read_bytes(), None)
        except (OSError, ValueError) as error:
            raise InvalidInput(f"the agent's key {file} can't be read ({error}): remove it, and join again") from error
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key
    key = ec.generate_private_key(ec.SECP256R1())
    _keep(file, _pem(key))
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _request(key: ec.EllipticCurvePrivateKey, agent_id: str) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, agent_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _file(state_dir: Path) -> Path:
    return state_dir / "membership.json"


def _keep(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
