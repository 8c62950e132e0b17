"""What came of a candidate or a contender on the device."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """`seconds`: one call, one value a sample; none where nothing was timed. `number`: calls in a sample."""

    seconds: tuple[float, ...]
    number: int
    max_rel_error: float | None


@dataclass(frozen=True)
class Failed:
    """The candidate's own fault. `kind`: as `commands` has it."""

    kind: str
    message: str


Result = Measured | Failed
