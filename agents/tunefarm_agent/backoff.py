"""Pauses between tries to reach the coordinator."""

import random
from collections.abc import Iterator


def pauses(first: float, longest: float, chance: random.Random) -> Iterator[float]:
    """Seconds to wait before each next try: doubling, up to `longest`, each spread over its upper half.

    The spread keeps a thousand agents from coming back in the same instant.
    """
    base = first
    while True:
        yield base * (0.5 + chance.random() / 2)
        base = min(longest, base * 2)
