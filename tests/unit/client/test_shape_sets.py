"""Shape sets and padding, as they are typed and as the SDK takes them."""

from __future__ import annotations

from typing import Any

import pytest

from tunefarm.errors import InvalidInput
from tunefarm.shape_sets import (
    check_padding,
    check_shape_sets,
    described,
    differing,
    parse_padding,
    parse_shape_sets,
)


@pytest.mark.parametrize(
    ("inputs", "texts", "sets"),
    [
        ([], [], ()),
        (["x=1,3"], [], ({"x": (1, 3)},)),
        ([], ["x=1,16"], ({"x": (1, 16)},)),
        ([], ["x=1,16", "x=1,64"], ({"x": (1, 16)}, {"x": (1, 64)})),
        ([], ["x=1,16 m=1,16", " x=1,64;m=1,64 "], ({"x": (1, 16), "m": (1, 16)}, {"x": (1, 64), "m": (1, 64)})),
        (["s=2"], ["a:0=1,16", "a:0=1,64"], ({"s": (2,), "a:0": (1, 16)}, {"s": (2,), "a:0": (1, 64)})),
    ],
)
def test_typed_sets(inputs: list[str], texts: list[str], sets: tuple[dict[str, tuple[int, ...]], ...]) -> None:
    assert parse_shape_sets(inputs, texts) == sets


@pytest.mark.parametrize(
    ("inputs", "texts", "said"),
    [
        ([], ["x=1,16", "x=1,16"], "shape sets 1 and 2 are equal"),
        ([], ["x=1,16", ""], "--shape-set '': write NAME=1,16"),
        ([], ["x=1,16 m"], "--shape-set 'm': write NAME"),
        ([], ["x=1,16 x=1,64"], "--shape-set 'x=1,64': 'x' was given before"),
        (["x=1,16"], ["x=1,64"], "'x' is in --input, too, which holds for every set: drop one"),
    ],
)
def test_sets_that_can_not_be_meant(inputs: list[str], texts: list[str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_shape_sets(inputs, texts)


def test_the_sdk_takes_one_set_or_a_list_of_them() -> None:
    assert check_shape_sets(None) == check_shape_sets({}) == check_shape_sets([]) == ()
    assert check_shape_sets({"x": [1, 3]}) == ({"x": (1, 3)},)
    assert check_shape_sets([{"x": [1, 3]}, {"x": [1, 5]}]) == ({"x": (1, 3)}, {"x": (1, 5)})
    with pytest.raises(InvalidInput, match="are equal"):
        check_shape_sets([{"x": [1, 3]}, {"x": (1, 3)}])


def test_typed_padding() -> None:
    assert parse_padding(["ids", "image=-1.5", "mask=0"]) == {"ids": 0.0, "image": -1.5, "mask": 0.0}


@pytest.mark.parametrize("text", ["", "=1", "x=", "x=one", "x=nan", "x=inf"])
def test_padding_that_is_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_padding([text])


def test_padding_is_a_number_and_given_once() -> None:
    with pytest.raises(InvalidInput, match="'x' was given before"):
        parse_padding(["x", "x=1"])
    wrong: Any = {"x": "0"}
    with pytest.raises(InvalidInput, match="a finite number, not '0'"):
        check_padding(wrong)


def test_sets_are_told_apart_by_what_differs() -> None:
    sets = [{"x": (1, 16), "scale": (2,)}, {"x": (1, 64), "scale": (2,)}]
    assert differing(sets) == ["x"]
    assert described(sets[1], differing(sets)) == "x=1,64"
    assert described(sets[0]) == "x=1,16 scale=2"
