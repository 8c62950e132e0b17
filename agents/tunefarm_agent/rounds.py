"""When contenders that are timed in turn have been timed often enough. Pure."""

from collections.abc import Sequence
from math import comb
from statistics import median

# The least rounds whose smallest and largest ratio enclose the median with 95% (1 - 2 / 2^6).
FEWEST_ROUNDS = 6
_MISSED = 0.05
# Rounds of a comparison in which everybody is timed; who then takes so many times as long as the fastest can't win it.
_ROUNDS_FOR_ALL, _BEATEN = 2, 1.25


def narrow_enough(times: Sequence[Sequence[float]], share: float) -> bool:
    """Whether it is known how fast the contenders are in comparison with the first.

    Args:
        times: seconds of each contender in each round.
        share: of a ratio, that the 95% interval of its median may be wide.

    Rounds are compared, as the machine's speed may change between them. The interval is that of order statistics
    (no distribution is assumed). It is looked at after every round, so it misses a little more often than it says.
    """
    count = min((len(each) for each in times), default=0)
    if count < FEWEST_ROUNDS:
        return False
    first, *others = times
    ratios = [sorted(b / a for a, b in zip(first, other, strict=False)) for other in others]
    out = _outside(count)
    return all(each[-1 - out] - each[out] <= share * median(each) for each in ratios)


def in_the_running(times: Sequence[Sequence[float]], rounds: int) -> list[int]:
    """Places of those who may still win a comparison after so many rounds. `times`: samples of each, in seconds; every
    one of them has some once a round is over."""
    if rounds < _ROUNDS_FOR_ALL or not times:
        return list(range(len(times)))
    typical = [median(each) for each in times]
    return [at for at, seconds in enumerate(typical) if seconds < _BEATEN * min(typical)]


def _outside(count: int) -> int:
    """How many of `count` ordered values may be left out at each end of the interval."""
    out, missed = 0, 2 / 2**count
    while missed + 2 * comb(count, out + 1) / 2**count <= _MISSED:
        out += 1
        missed += 2 * comb(count, out) / 2**count
    return out
