"""How many examples a property test draws."""

from hypothesis import settings

# What hypothesis draws for a test that says nothing; the profile in force may have more (tests/conftest.py).
_USUAL = 100


def examples(count: int) -> settings:
    """Settings with `count` examples, and as many times more as the profile in force has."""
    return settings(max_examples=count * settings().max_examples // _USUAL)
