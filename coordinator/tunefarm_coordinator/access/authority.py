"""The farm's certificate authority: made once, kept in the data folder, believed by everybody that it signs for.

It signs two kinds of certificates. The coordinator's own has the name COORDINATOR and nobody else's does, so peers that
know the authority know the coordinator by whatever address they reach it, through NAT and tunnels too. An agent's has
its id as common name and is good for clients only. Agents' certificates live as long as the farm: each call is checked
against the table of agents, so an early end would add nothing but a renewal that can fail.
"""

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunefarm_coordinator.durable_files import put_in_place
from tunefarm_coordinator.errors import InvalidInput, StoreError
from tunefarm_proto.trust import COORDINATOR

_LIFE = datetime.timedelta(days=20 * 365)
# Clocks of boards without a battery are behind.
_CLOCK_SKEW = datetime.timedelta(days=1)
_LARGEST_REQUEST_BYTES = 16_384


@dataclass(frozen=True)
class SigningRequest:
    """What is believed of a PKCS #10 request: that the caller has this key. Its names and extensions are not read."""

    public_key: ec.EllipticCurvePublicKey

    @property
    def key_digest(self) -> str:
        """SHA-256 of the key, in hex."""
        data = self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(data)
        return digest.finalize().hex()


def parse_request(pem: str) -> SigningRequest:
    """A request whose signature proves the key. Raises InvalidInput."""
    wrong = InvalidInput("the signing request is not PKCS #10 in PEM with a P-256 key: use `tunefarm-agent join`")
    if len(pem) > _LARGEST_REQUEST_BYTES:
        raise wrong
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        signed = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as error:
        raise wrong from error
    key = request.public_key()
    if not signed or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise wrong
    return SigningRequest(key)


class Authority:
    """The authority's key and certificate."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        """Use `open`."""
        self._key = key
        self._certificate = certificate

    @classmethod
    def open(cls, folder: Path) -> "Authority":
        """The authority of this folder, made at the first call. Raises StoreError: it can't be read or written."""
        key_file, certificate_file = folder / "authority.key", folder / "authority.pem"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not certificate_file.exists():
                # The certificate comes last: a start that was broken off begins anew.
                made = cls._new()
                write_secret(key_file, _key_pem(made._key))
                write_secret(certificate_file, made.pem)
                return made
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"the certificate authority in {folder} can't be used: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise StoreError(f"the certificate authority in {folder} can't be used: key and certificate don't match")
        return cls(key, certificate)

    @classmethod
    def _new(cls) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("tunefarm certificate authority")
        builder = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate (DER), in hex: what tokens name."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def server_credentials(self) -> tuple[bytes, bytes]:
        """(key, certificate) of the coordinator, PEM; new at each call, never on disk."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(COORDINATOR)])
        certificate = self._sign(COORDINATOR, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, names)
        return _key_pem(key), certificate

    def sign(self, agent_id: str, request: SigningRequest) -> bytes:
        """The agent's certificate, PEM."""
        return self._sign(agent_id, request.public_key, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> bytes:
        builder = (
            _builder(_name(name), self._certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFE)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_secret(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all, for this user's eyes only."""
    draft = path.with_suffix(path.suffix + ".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    put_in_place(draft, path)
