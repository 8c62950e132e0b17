"""What a user says of a model's inputs beside their shapes: values, constants, sizes that the file fixes otherwise."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tunefarm.errors import InvalidInput
from tunefarm.numpy_files import ArrayHeader, npy_header, npz_headers
from tunefarm.request import InputShapes, check_shapes
from tunefarm.shape_sets import check_padding

if TYPE_CHECKING:
    from tunefarm.model_files import DeclaredInput

# More belongs in a file.
_LONGEST_JSON = 100_000


@dataclasses.dataclass(frozen=True)
class InputWishes:
    """Checked as far as that goes without the model; `check` does the rest.

    Attributes:
        samples: an .npz file of input sets: arrays named as the inputs, or NAME/0, NAME/1, ... for several sets.
        ranges: by input, seeded values from the first number up to the second, which is left out.
        frozen: by input, what it always is: JSON, or an .npy file.
        forced: sizes of inputs, whatever the file fixes.
        padding: by input, what the package pads it with to the next shape set.
    """

    samples: Path | None = None
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    frozen: Mapping[str, str | Path] = dataclasses.field(default_factory=dict)
    forced: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    padding: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            if not -math.inf < low < high < math.inf:
                raise InvalidInput(f"the range of input {name!r} is {low:g}:{high:g}: HIGH is above LOW, and left out")
        for name, value in self.frozen.items():
            if isinstance(value, str) and len(value) > _LONGEST_JSON:
                raise InvalidInput(
                    f"the value of input {name!r} is long: write it to a file with numpy.save, and name it"
                )

    def __bool__(self) -> bool:
        return bool(self.samples or self.ranges or self.frozen or self.forced or self.padding)

    def check(self, inputs: Sequence[DeclaredInput]) -> None:
        """Raises InvalidInput for a name, a dtype or a shape that is not an input's, and for an unreadable file."""
        known = {each.name: each for each in inputs}
        named = {
            "--range": self.ranges,
            "--freeze": self.frozen,
            "--force-input": self.forced,
            "--pad": self.padding,
        }
        for option, names in named.items():
            for name in names:
                if name not in known:
                    raise InvalidInput(f"{option}: no input is called {name!r}: {_has(known)}")
        for name, value in self.frozen.items():
            if isinstance(value, Path):
                _check_array(known[name], npy_header(value), str(value), forced=name in self.forced)
        left = {name: each for name, each in known.items() if name not in self.frozen}
        if self.samples is not None:
            self._check_samples(self.samples, left)

    def _check_samples(self, path: Path, inputs: Mapping[str, DeclaredInput]) -> None:
        numbers: dict[str, set[int]] = {}
        for key, header in npz_headers(path).items():
            name, number = _place(path, key, inputs)
            numbers.setdefault(name, set()).add(number)
            _check_array(inputs[name], header, f"{key!r} in {path}", forced=name in self.forced)
        if not numbers:
            raise InvalidInput(f"{path} has no arrays: {_has(inputs)}")
        count = max(len(found) for found in numbers.values())
        for name, found in numbers.items():
            if found != set(range(count)):
                raise InvalidInput(f"{path}: {name!r} has sets {sorted(found)}, but {count} are numbered from 0 on")


class InputArguments(TypedDict, total=False):
    """What the SDK is told of a model's inputs beside their shapes."""

    input_samples: str | Path | None
    input_ranges: Mapping[str, Sequence[float]] | None
    freeze: Mapping[str, Any] | None
    force_inputs: InputShapes | None
    input_padding: Mapping[str, float] | None


def wishes_of(
    input_samples: str | Path | None = None,
    input_ranges: Mapping[str, Sequence[float]] | None = None,
    freeze: Mapping[str, Any] | None = None,
    force_inputs: InputShapes | None = None,
    input_padding: Mapping[str, float] | None = None,
) -> InputWishes:
    """The wishes of the SDK's arguments. A frozen value is a number, a bool, lists of them, an array, or the Path of an
    .npy file. Raises InvalidInput."""
    return InputWishes(
        samples=None if input_samples is None else Path(input_samples),
        ranges={name: _pair(name, pair) for name, pair in (input_ranges or {}).items()},
        frozen={name: _frozen(name, value) for name, value in (freeze or {}).items()},
        forced=check_shapes(force_inputs or {}),
        padding=check_padding(input_padding or {}),
    )


def parse_ranges(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """`NAME=LOW:HIGH` strings -> ranges by input. Raises InvalidInput, quoting the text."""
    ranges: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, _, bounds = text.rpartition("=")
        try:
            low, high = (float(part) for part in bounds.split(":"))
        except ValueError:
            name = ""
        if not name.strip():
            raise InvalidInput(f"--range {text!r}: write NAME=LOW:HIGH; HIGH itself is left out")
        if name in ranges:
            raise InvalidInput(f"--range {text!r}: {name!r} was given before")
        ranges[name] = (low, high)
    return ranges


def parse_frozen(texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` and `NAME=@FILE.npy` strings -> values by input, as `wishes_of` takes them. Raises InvalidInput,
    quoting the text."""
    frozen: dict[str, Any] = {}
    for text in texts:
        name, found, file = text.partition("=@")
        value: Any = Path(file) if found and file else None
        if value is None:
            name, _, said = text.rpartition("=")
            value = _value(said)
        if value is None or not name.strip():
            raise InvalidInput(f"--freeze {text!r}: write NAME=0.5, NAME=1,16, NAME=[[1,2],[3,4]] or NAME=@FILE.npy")
        if name in frozen:
            raise InvalidInput(f"--freeze {text!r}: {name!r} was given before")
        frozen[name] = value
    return frozen


# Spellings that JSON has otherwise.
_WORDS = (("true", "true"), ("false", "false"), ("inf(inity)?", "Infinity"), ("nan", "NaN"))


def _value(text: str) -> Any:
    """A number, true or false, lists of them, with or without the outer brackets; None for anything else."""
    for word, spelling in _WORDS:
        text = re.sub(rf"\b{word}\b", spelling, text, flags=re.IGNORECASE)
    for candidate in (text, f"[{text}]"):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        return value if isinstance(value, int | float) or (isinstance(value, list) and value) else None
    return None


def _pair(name: str, pair: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in pair)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the range of input {name!r} is two numbers, LOW and HIGH, not {pair!r}") from error
    return low, high


def _frozen(name: str, value: Any) -> str | Path:
    if isinstance(value, Path):
        return value
    try:
        return json.dumps(value.tolist() if hasattr(value, "tolist") else value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the value of input {name!r} is a number, lists of numbers, or an .npy file's Path"
        ) from error


def _place(path: Path, key: str, inputs: Mapping[str, DeclaredInput]) -> tuple[str, int]:
    if key in inputs:
        return key, 0
    name, _, number = key.rpartition("/")
    if name in inputs and number.isascii() and number.isdigit():
        return name, int(number)
    raise InvalidInput(f"{path}: no input is called {key!r}: {_has(inputs)}")


def _check_array(declared: DeclaredInput, header: ArrayHeader, what: str, *, forced: bool) -> None:
    if declared.dtype is not None and header.dtype != declared.dtype:
        raise InvalidInput(
            f"{what} is {header.dtype}, but input {declared.name!r} is {declared.dtype}: "
            f"save it with .astype({declared.dtype!r})"
        )
    dims = declared.dims
    if dims is None:
        return
    fixed = [None] * len(dims) if forced else dims
    if len(dims) != len(header.shape) or any(
        dim is not None and dim != size for dim, size in zip(fixed, header.shape, strict=True)
    ):
        wanted = ",".join("?" if dim is None else str(dim) for dim in dims) or "a scalar"
        found = ",".join(map(str, header.shape)) or "a scalar"
        raise InvalidInput(f"{what} is {found}, but input {declared.name!r} is {wanted}")


def _has(inputs: Mapping[str, DeclaredInput]) -> str:
    return f"the model has {', '.join(inputs) or 'no inputs'}"
