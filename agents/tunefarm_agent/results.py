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
    """The reference kernel: at least one sample, each in seconds of one call."""

    samples: tuple[float, ...]

    @property
    def seconds(self) -> float:
        return median(self.samples)

    @property
    def spread(self) -> float:
        """Half the interquartile range of the samples over their median."""
        if len(self.samples) < 2 or self.seconds <= 0:
            return 0.0
        low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / self.seconds
