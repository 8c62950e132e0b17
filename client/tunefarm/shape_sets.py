"""Several sets of input shapes in one job, and which inputs its package pads to the next set."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from tunefarm.errors import InvalidInput
from tunefarm.request import InputShapes, check_shapes, parse_inputs

Shapes = dict[str, tuple[int, ...]]


def check_shape_sets(given: InputShapes | Sequence[InputShapes] | None) -> tuple[Shapes, ...]:
    """The sets as tuples; one set may be given by itself, none is the model's own shapes. Raises InvalidInput for a
    shape that can't be one, and for two sets that are equal."""
    listed = [given] if isinstance(given, Mapping) else list(given or ())
    sets = tuple(check_shapes(shapes) for shapes in listed)
    for number, shapes in enumerate(sets, start=1):
        first = sets.index(shapes) + 1
        if first != number:
            raise InvalidInput(f"shape sets {first} and {number} are equal: leave one of them out")
    return sets if any(sets) else ()


def check_padding(padding: Mapping[str, float]) -> dict[str, float]:
    """Value by input. Raises InvalidInput for one that is no finite number."""
    for name, value in padding.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidInput(f"the padding of input {name!r} is a finite number, not {value!r}")
    return {name: float(value) for name, value in padding.items()}


def parse_shape_sets(inputs: Sequence[str], sets: Sequence[str]) -> tuple[Shapes, ...]:
    """`NAME=1,3,224,224` strings, and `NAME=1,16 NAME=1,16` strings, each a set -> the sets, `inputs` in each of them.
    Raises InvalidInput, quoting the text."""
    common = parse_inputs(inputs)
    if not sets:
        return check_shape_sets(common)
    return check_shape_sets([_set(text, common) for text in sets])


def _set(text: str, common: Shapes) -> Shapes:
    words = [word for word in re.split(r"[\s;]+", text) if word]
    if not words:
        raise InvalidInput(f"--shape-set {text!r}: write NAME=1,16, or, for several inputs, 'NAME=1,16 NAME=1,16'")
    found = parse_inputs(words, "--shape-set")
    if both := sorted(found.keys() & common.keys()):
        raise InvalidInput(f"--shape-set {text!r}: {both[0]!r} is in --input, too, which holds for every set: drop one")
    return {**common, **found}


def parse_padding(texts: Sequence[str]) -> dict[str, float]:
    """`NAME` or `NAME=VALUE` strings -> value by input, 0 where none is said. Raises InvalidInput, quoting the text."""
    padding: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        name = name if equals else text
        if not name.strip() or name in padding:
            raise InvalidInput(f"--pad {text!r}: " + (f"{name!r} was given before" if name.strip() else "write NAME"))
        try:
            padding[name] = float(value) if equals else 0.0
        except ValueError as error:
            raise InvalidInput(f"--pad {text!r}: write NAME, or NAME=VALUE with a number") from error
    return check_padding(padding)


def described(shapes: Mapping[str, Sequence[int]], names: Sequence[str] | None = None) -> str:
    """`x=1,16 mask=1,16`, of these inputs alone if any are named."""
    listed = shapes.keys() if names is None else names
    return " ".join(f"{name}={','.join(map(str, shapes[name]))}" for name in listed)


def differing(sets: Sequence[Mapping[str, Sequence[int]]]) -> list[str]:
    """Names of the inputs whose shapes tell the sets apart."""
    return [name for name in sets[0] if len({tuple(shapes.get(name, ())) for shapes in sets}) > 1]
