"""Which devices are compared with each other."""

import pytest

from tests.unit.schedules.schedule_examples import PI, ZEN
from tunefarm_coordinator.schedules.device_class import device_class

FULL = {**ZEN, "features": "avx2 avx512f fma"}


@pytest.mark.parametrize(
    "same",
    [
        {"memory_gib": "1"},
        {"machine": "other"},
        {"stepping": "2"},
        {"reserved_cores": "4,9"},
        {"cpu": "zen  4"},
        {"features": "fma,avx2,avx512f"},
    ],
)
def test_what_does_not_decide_speed_makes_no_class(same: dict[str, str]) -> None:
    assert device_class({**FULL, **same}) == device_class(FULL)


@pytest.mark.parametrize(
    "other", [{"cpu": "Zen 5"}, {"cores": "4"}, {"features": "avx2 fma"}, {"gpu": "H100"}, {"reserved_cores": "0"}]
)
def test_what_decides_speed_makes_another_class(other: dict[str, str]) -> None:
    assert device_class({**FULL, **other}) != device_class(FULL)


def test_a_class_can_be_read_and_names_its_mapping() -> None:
    assert device_class(ZEN).startswith("v1:zen-4-")
    assert device_class(PI).startswith("v1:cortex-a72-")


def test_devices_that_say_nothing_of_themselves_share_nothing() -> None:
    assert device_class({"serial": "1"}) != device_class({"serial": "2"})


def test_the_first_mapping_never_changes() -> None:
    """Classes stand in users' queries and scripts: another mapping is another version."""
    assert device_class(FULL) == "v1:zen-4-03d5ec301840"
