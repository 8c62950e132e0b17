"""How a token reads, and whom it trusts, for the three programs that pass one on.

    tft_ID_SECRET_AUTHORITY     of a user        tfj_...    of an invite, for one board to join with

ID (12 hex digits) names it in lists and logs; SECRET (64) is 256 random bits; AUTHORITY (64) is the SHA-256 of the
farm's certificate authority (DER), so that whoever has HOST:PORT and a token knows whom to trust before it says the
secret.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Literal

# The name in the coordinator's certificate, at whatever address it is reached: who trusts a farm's authority looks for
# this name, and the authority gives it to nobody else.
COORDINATOR = "coordinator.tunefarm.internal"

Kind = Literal["tft", "tfj"]

_TOKEN = re.compile(r"(tf[tj])_([0-9a-f]{12})_([0-9a-f]{64})_([0-9a-f]{64})")
# Also of a token that was cut off or mistyped: whatever may hold a secret.
_SECRET = re.compile(r"\b(tf[tj]_[0-9a-f]{1,12})_[0-9A-Za-z_]+")


@dataclass(frozen=True)
class Token:
    """A token's parts. `str()` is the token itself; `repr()` masks it."""

    kind: str
    token_id: str
    secret: str
    authority: str

    def __str__(self) -> str:
        return f"{self.kind}_{self.token_id}_{self.secret}_{self.authority}"

    def __repr__(self) -> str:
        return f"Token({mask(str(self))})"


def new_token(kind: Kind, authority: str) -> Token:
    """A token with a fresh id and secret. `authority`: SHA-256 of the authority's DER, in hex."""
    return Token(kind, secrets.token_hex(6), secrets.token_hex(32), authority)


def parse_token(text: str) -> Token | None:
    """The token's parts, or None for anything else."""
    match = _TOKEN.fullmatch(text.strip())
    return None if match is None else Token(*match.groups())


def mask(text: str) -> str:
    """The text with the secret of every token in it taken out."""
    return _SECRET.sub(r"\1_***", text)
