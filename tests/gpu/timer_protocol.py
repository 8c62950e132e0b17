"""How the check talks to the processes that hold models on the device: JSON, a line each way. Standard library alone.

A timer says {"ready": {...}} (what it has, by contender) or {"error": "..."} once. Then, for each
{"contender": NAME, "calls": N}, {"seconds": [...]}: N calls, each with a wait for the device at its end, after some
that are not counted.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

# The contenders before may have left clocks low and caches full.
UNCOUNTED_CALLS = 5


def serve(opened: Callable[[], tuple[Mapping[str, Callable[[], Any]], dict[str, Any]]]) -> None:
    """Answers until stdin ends. `opened()`: the contenders, each a call and the wait, and what to say of them."""
    # Libraries print what they like: it goes to stderr, answers alone to what was stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        contenders, facts = opened()
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        raise
    say({"ready": facts})
    for line in sys.stdin:
        asked = json.loads(line)
        say({"seconds": timed(contenders[asked["contender"]], asked["calls"])})


def timed(call: Callable[[], Any], calls: int) -> list[float]:
    """Seconds of each of `calls` calls."""
    for _ in range(UNCOUNTED_CALLS):
        call()
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds
