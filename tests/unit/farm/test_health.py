"""When a device rests."""

from tunefarm_coordinator.farm.health import DeviceHealth
from tunefarm_coordinator.farm.states import FarmPolicy, Health

POLICY = FarmPolicy(strikes=3, losses=4, losses_window=600.0, quarantine=30.0)


def state(health: DeviceHealth) -> Health:
    """Asked for anew: a type checker takes it to stay what it was."""
    return health.state


def lose_and_do_well(health: DeviceHealth, *moments: float) -> None:
    for moment in moments:
        health.did_well()
        health.lost(moment, "no answer")


def test_losses_in_a_row_quarantine() -> None:
    health = DeviceHealth(POLICY)
    health.lost(1.0, "no answer")
    health.lost(2.0, "no answer")
    assert state(health) is Health.GOOD
    health.lost(3.0, "no answer")
    assert state(health) is Health.QUARANTINED
    assert "3 leases lost in a row" in health.reason


def test_a_device_that_does_well_in_between_is_quarantined_for_too_many() -> None:
    health = DeviceHealth(POLICY)
    lose_and_do_well(health, 0.0, 100.0, 200.0)
    assert state(health) is Health.GOOD
    lose_and_do_well(health, 300.0)
    assert state(health) is Health.QUARANTINED
    assert "4 leases lost within 10 min" in health.reason


def test_losses_of_long_ago_do_not_count() -> None:
    health = DeviceHealth(POLICY)
    lose_and_do_well(health, 0.0, 100.0, 200.0, 601.0)
    assert state(health) is Health.GOOD


def test_outcomes_that_were_under_way_do_not_free_an_unsteady_device_but_those_after_its_rest_do() -> None:
    health = DeviceHealth(POLICY)
    lose_and_do_well(health, 0.0, 1.0, 2.0, 3.0)
    health.did_well()
    assert state(health) is Health.QUARANTINED
    assert health.release_if_due(33.0)
    assert state(health) is Health.PROBATION
    health.did_well()
    assert state(health) is Health.GOOD
    lose_and_do_well(health, 40.0, 41.0, 42.0)
    assert state(health) is Health.GOOD
