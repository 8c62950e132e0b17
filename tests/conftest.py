"""Shared by all tests: how hypothesis works in this house."""

from hypothesis import HealthCheck, settings

# No deadline and no speed check for one example: the tests share two cores with whatever else runs there.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("house")
