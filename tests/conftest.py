"""Shared by all tests: how hypothesis works in this house, and that Ctrl-C means something."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

# No deadline and no speed check for one example: the tests share two cores with whatever else runs there. What is drawn
# is the same at every run; new examples are `make explore`'s (--hypothesis-profile=explore).
_HOUSE = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=True,
    database=None,
    max_examples=100,
)
_FOUND = DirectoryBasedExampleDatabase(".hypothesis/examples")
settings.register_profile("house", _HOUSE)
settings.register_profile("explore", _HOUSE, derandomize=False, database=_FOUND, max_examples=1000)
settings.load_profile("house")

# A shell ignores SIGINT for what it starts with `&`, and every child inherits that: programs under test would never
# hear the Ctrl-C that a test sends them.
signal.signal(signal.SIGINT, signal.default_int_handler)

_CORES = os.sched_getaffinity(0)


@pytest.fixture(autouse=True)
def _all_cores() -> None:
    """TVM pins the thread that a kernel was called from, and whatever a later test starts would inherit that."""
    os.sched_setaffinity(0, _CORES)
