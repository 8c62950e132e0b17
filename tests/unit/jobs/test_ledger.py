"""Trials are reserved, then charged or refunded, once."""

import pytest

from tests.unit.jobs.scenarios import spec
from tunefarm_coordinator.jobs.allotment import allot
from tunefarm_coordinator.jobs.ledger import Ledger
from tunefarm_coordinator.jobs.options import JobOptions


def test_charge_and_refund_settle_what_was_reserved() -> None:
    ledger = Ledger(10)
    ledger.reserve(6)
    assert ledger.free == 4
    ledger.charge(4)
    ledger.refund(2)
    assert (ledger.charged, ledger.reserved, ledger.free) == (4, 0, 6)


@pytest.mark.parametrize("count", [5, -1])
def test_more_than_is_free_can_not_be_reserved(count: int) -> None:
    ledger = Ledger(4)
    with pytest.raises(ValueError, match="4 are free"):
        ledger.reserve(count)


@pytest.mark.parametrize("settle", [Ledger.charge, Ledger.refund])
def test_nothing_is_settled_that_was_not_reserved(settle) -> None:  # type: ignore[no-untyped-def]
    ledger = Ledger(4)
    ledger.reserve(1)
    settle(ledger, 1)
    with pytest.raises(ValueError, match="0 are reserved"):
        settle(ledger, 1)


@pytest.mark.parametrize(("cap", "budget"), [(None, 30), (7, 7), (99, 30)])
def test_budget_is_trials_per_kernel_times_kernels_up_to_the_cap(cap: int | None, budget: int) -> None:
    options = JobOptions(trials_per_kernel=3, early_stopping=1, max_trials=cap)
    assert allot(options, [spec(at) for at in range(10)]).budget == budget


def test_an_extended_budget_never_falls_below_what_is_spent() -> None:
    ledger = Ledger(4)
    ledger.reserve(3)
    ledger.charge(2)
    ledger.extend(9)
    assert (ledger.free, ledger.charged, ledger.reserved) == (6, 2, 1)
    with pytest.raises(ValueError, match="3 trials are spent or reserved"):
        ledger.extend(2)
