"""What came of a candidate or a contender on the device."""

from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Measured:
    """`seconds`: one call, one value a sample; none where nothing was timed. `number`: calls in a sample. `let_go`:
    after a first look; one call takes at least as long as the fastest of the samples."""

    seconds: tuple[float, ...]
    number: int
    max_rel_error: float | None
    let_go: bool = False


@dataclass(frozen=True)
class Failed:
    """The candidate's own fault. `kind`: as `commands` has it."""

    kind: str
    message: str


Result = Measured | Failed


@dataclass(frozen=True)
class ReferenceTime:
    """The reference kernel: seconds of one call (median of its samples), half their interquartile range over it."""

    seconds: float
    spread: float

    @classmethod
    def of(cls, samples: tuple[float, ...]) -> "ReferenceTime":
        """At least one sample."""
        middle = median(samples)
        if len(samples) < 2 or middle <= 0:
            return cls(middle, 0.0)
        low, _, high = quantiles(samples, n=4, method="inclusive")
        return cls(middle, (high - low) / 2 / middle)
