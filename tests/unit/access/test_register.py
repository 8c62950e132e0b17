"""Who somebody is, over restarts too: a real store, a clock of the test's own."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunefarm_coordinator.access.authority import Authority, SigningRequest, parse_request
from tunefarm_coordinator.access.register import Register
from tunefarm_coordinator.access.roles import Agent, Role
from tunefarm_coordinator.errors import Conflict, InvalidInput, NotFound, StoreError, Unauthenticated
from tunefarm_coordinator.schedules.store import Store


def request_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "whatever") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def a_request() -> SigningRequest:
    return parse_request(request_pem(ec.generate_private_key(ec.SECP256R1())))


class House:
    """A register that can be closed and opened again."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.revoked: list[tuple[str, str]] = []
        self.authority = Authority.open(folder / "authority")
        self._url = f"sqlite:///{folder / 'store.db'}"
        self.open()

    def open(self) -> None:
        self.store = Store.open(self._url)
        self.register = Register(
            self.store, self.authority, lambda agent, why: self.revoked.append((agent, why)), lambda: self.now
        )

    def restart(self) -> None:
        self.store.close()
        self.open()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.store.close()


async def test_a_token_is_its_users(house: House) -> None:
    token, kept = await house.register.create_token("bob", Role.SUBMITTER, "vision", None)
    for _ in range(2):
        user = house.register.user(str(token))
        assert (user.name, user.role, user.project) == ("bob", Role.SUBMITTER, "vision")
        house.restart()
    assert token.secret not in repr(kept)
    assert token.secret.encode() not in b"".join(file.read_bytes() for file in house_files(house))


def house_files(house: House) -> list[Path]:
    folder = Path(house._url.removeprefix("sqlite:///")).parent
    return [file for file in folder.rglob("*") if file.is_file()]


async def test_tokens_that_are_none(house: House) -> None:
    token, _ = await house.register.create_token("bob", Role.VIEWER, "", None)
    invite, _ = await house.register.invite({}, "", 60.0)
    wrong = str(token).replace(token.secret, "0" * 64)
    for text in ("", "secret", wrong, str(invite), str(token)[:-1]):
        with pytest.raises(Unauthenticated, match="not this farm's"):
            house.register.user(text)


async def test_tokens_end(house: House) -> None:
    short, _ = await house.register.create_token("short", Role.VIEWER, "", 60.0)
    revoked, kept = await house.register.create_token("revoked", Role.VIEWER, "", None)
    house.register.user(str(short))
    house.now += 60.0
    with pytest.raises(Unauthenticated, match="expired"):
        house.register.user(str(short))
    first = await house.register.revoke_token(kept.token_id)
    house.now += 5.0
    assert (await house.register.revoke_token(kept.token_id)).revoked == first.revoked
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="revoked"):
            house.register.user(str(revoked))
        house.restart()
    with pytest.raises(NotFound):
        await house.register.revoke_token("nobody")


async def test_an_invite_is_good_once(house: House) -> None:
    invite, _ = await house.register.invite({"rack": "a1"}, "", 60.0)
    mine = a_request()
    enrolment = await house.register.enrol(str(invite), "board-1", mine)
    assert enrolment.labels == {"rack": "a1"}
    # The answer got lost: the same board asks again.
    await house.register.enrol(str(invite), "board-1", mine)
    for agent_id, request in (("board-2", a_request()), ("board-1", a_request()), ("board-2", mine)):
        with pytest.raises(Unauthenticated, match="used before"):
            await house.register.enrol(str(invite), agent_id, request)
    house.restart()
    with pytest.raises(Unauthenticated, match="used before"):
        await house.register.enrol(str(invite), "board-2", a_request())
    assert [agent.agent_id for agent in house.register.agents()] == ["board-1"]


async def test_invites_that_are_none(house: House) -> None:
    invite, _ = await house.register.invite({}, "", 60.0)
    token, _ = await house.register.create_token("bob", Role.ADMIN, "", None)
    for text in ("", str(token), str(invite).replace(invite.secret, "0" * 64)):
        with pytest.raises(Unauthenticated, match="not one of this farm's"):
            await house.register.enrol(text, "board-1", a_request())
    house.now += 60.0
    with pytest.raises(Unauthenticated, match="expired"):
        await house.register.enrol(str(invite), "board-1", a_request())
    assert house.register.agents() == []


async def test_a_revoked_agent_never_comes_back(house: House) -> None:
    invite, _ = await house.register.invite({}, "", 60.0)
    mine = a_request()
    await house.register.enrol(str(invite), "board-1", mine)
    assert house.register.agent("board-1") == Agent("board-1")
    for _ in range(2):
        await house.register.revoke_agent("board-1", "stolen")
    assert house.revoked == [("board-1", "stolen")]
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="revoked: stolen"):
            house.register.agent("board-1")
        with pytest.raises(Unauthenticated, match="revoked"):
            await house.register.enrol(str(invite), "board-1", mine)
        another, _ = await house.register.invite({}, "", 60.0)
        with pytest.raises(Conflict, match="enrolled before"):
            await house.register.enrol(str(another), "board-1", a_request())
        house.restart()
    with pytest.raises(NotFound):
        await house.register.revoke_agent("nobody", "")


@pytest.mark.parametrize(
    "agent_id", ["", "../../etc/passwd", "a/b", "a b", "a\n", "a\x00", "é", "x" * 65, "..", ".hidden", "-x"]
)
async def test_names_that_are_not_allowed(house: House, agent_id: str) -> None:
    invite, _ = await house.register.invite({}, "", 60.0)
    with pytest.raises(InvalidInput, match="1 to 64"):
        await house.register.enrol(str(invite), agent_id, a_request())
    assert house.register.agents() == []


@pytest.mark.parametrize("labels", [{"": "x"}, {"a": "b\n"}, {"a": "x" * 201}, {str(i): "" for i in range(65)}])
async def test_labels_that_are_not_allowed(house: House, labels: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        await house.register.invite(labels, "", 60.0)


async def test_durations_that_are_not_allowed(house: House) -> None:
    for seconds in (0.0, -1.0):
        with pytest.raises(InvalidInput, match="expire at once"):
            await house.register.invite({}, "", seconds)
        with pytest.raises(InvalidInput, match="expire at once"):
            await house.register.create_token("a", Role.VIEWER, "", seconds)


def test_requests_that_prove_nothing() -> None:
    good = request_pem(ec.generate_private_key(ec.SECP256R1()))
    other_curve = request_pem(ec.generate_private_key(ec.SECP384R1()))
    rsa_key = request_pem(rsa.generate_private_key(65537, 2048))
    lines = good.splitlines()
    body = bytearray(lines[-2].encode())
    body[0] = ord("A") if body[0] != ord("A") else ord("B")
    broken = "\n".join([*lines[:-2], body.decode(), lines[-1]])
    parse_request(good)
    for pem in ("", "rubbish", other_curve, rsa_key, broken, good + "x" * 20_000):
        with pytest.raises(InvalidInput, match="PKCS #10"):
            parse_request(pem)


def test_a_certificate_says_what_the_authority_says(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "authority")
    asked = parse_request(request_pem(ec.generate_private_key(ec.SECP256R1()), "admin"))
    certificate = x509.load_pem_x509_certificate(authority.sign("board-1", asked))
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "board-1"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_the_authority_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    assert Authority.open(folder).digest == Authority.open(folder).digest
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    (folder / "authority.key").write_bytes(b"rubbish")
    with pytest.raises(StoreError, match="can't be used"):
        Authority.open(folder)
