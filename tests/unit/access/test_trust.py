"""Tokens as text: parsed whole or not at all, never shown."""

import pytest

from tunefarm_proto.trust import mask, new_token, parse_token


def test_a_token_reads_back() -> None:
    token = new_token("tft", "ab" * 32)
    assert parse_token(f" {token}\n") == token
    assert token.secret != new_token("tft", "ab" * 32).secret


@pytest.mark.parametrize("text", ["", "secret", "tft_", "tfx_" + "0" * 12 + "_" + "0" * 64 + "_" + "0" * 64])
def test_anything_else_is_none(text: str) -> None:
    assert parse_token(text) is None


def test_a_token_that_was_cut_off_is_none() -> None:
    assert parse_token(str(new_token("tfj", "ab" * 32))[:-1]) is None


@pytest.mark.parametrize("kind", ["tft", "tfj"])
def test_secrets_are_masked_wherever_they_stand(kind: str) -> None:
    token = new_token(kind, "ab" * 32)  # type: ignore[arg-type]
    for text in (f"--token {token}", f'{{"authorization": "Bearer {token}"}}', str(token)[:60], repr(token)):
        assert token.secret[:20] not in mask(text)
        assert token.token_id in mask(text)
    assert mask("nothing of the kind: tft is a word") == "nothing of the kind: tft is a word"
