"""What is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from tunefarm.address import Address, parse_address
from tunefarm.errors import InvalidInput
from tunefarm.request import JobRequest, caps_of, check_shapes, parse_inputs, target_text


@pytest.mark.parametrize(
    ("texts", "shapes"),
    [
        ([], {}),
        (["x=1,3,224,224"], {"x": (1, 3, 224, 224)}),
        (["a=b:0=2", "y=7"], {"a=b:0": (2,), "y": (7,)}),
        (["x= 1, 3"], {"x": (1, 3)}),
    ],
)
def test_parses_input_shapes(texts: list[str], shapes: dict[str, tuple[int, ...]]) -> None:
    assert parse_inputs(texts) == shapes


@pytest.mark.parametrize(
    "texts", [["x"], ["x="], ["=1"], ["x=1,,2"], ["x=a"], ["x=-1"], ["x=1.5"], ["x=²"], ["x=1", "x=2"]]
)
def test_refuses_other_input_shapes(texts: list[str]) -> None:
    with pytest.raises(InvalidInput):
        parse_inputs(texts)


@pytest.mark.parametrize("dims", [3, "13", [1.0], [True], [-1], [2**63]])
def test_refuses_shapes_that_are_none(dims: Any) -> None:
    with pytest.raises(InvalidInput, match="'x'"):
        check_shapes({"x": dims})


def test_targets() -> None:
    assert target_text(" host ") == "host"
    assert target_text({"kind": "llvm"}) == '{"kind": "llvm"}'
    assert target_text('{"kind": "llvm"}') == '{"kind": "llvm"}'
    for bad in ("", " ", '{"kind": ', "[1]"):
        with pytest.raises(InvalidInput, match="target"):
            target_text(bad)


@pytest.mark.parametrize(
    "caps",
    [
        {"max_trials": -4},
        {"max_seconds": 0.0},
        {"max_seconds": float("nan")},
        {"seed": -1},
        {"seed": 2**64},
        {"priority": 2**31},
    ],
)
def test_refuses_caps_that_cannot_be_served(caps: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        JobRequest("m", "host", [], None, project="", owner="", name="", **caps)


def test_a_parameter_that_nobody_has_is_a_type_error() -> None:
    parameters: Any = {"num_trials": 3}
    with pytest.raises(TypeError, match="num_trials"):
        caps_of(parameters)


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("farm", Address("farm", 7700), False),
        ("farm:1", Address("farm", 1), False),
        ("127.0.0.1:7", Address("127.0.0.1", 7), True),
        ("127.9.9.9", Address("127.9.9.9", 7700), True),
        ("localhost:7", Address("localhost", 7), True),
        ("localhost.example.com:7", Address("localhost.example.com", 7), False),
        ("[::1]:7", Address("::1", 7), True),
        ("::1", Address("::1", 7700), True),
        ("[fe80::2]", Address("fe80::2", 7700), False),
    ],
)
def test_parses_addresses(text: str, address: Address, loopback: bool) -> None:
    assert parse_address(text) == address
    assert parse_address(text).is_loopback is loopback
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", ":7", "farm:", "farm:x", "farm:0", "farm:65536", "[::1", "[::1]7", "http://farm:1", "a b:1", "u@h:1"]
)
def test_refuses_other_addresses(text: str) -> None:
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        parse_address(text)
