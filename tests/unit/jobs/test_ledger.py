"""Trials are reserved, then charged or refunded, once."""

import pytest

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
    assert JobOptions(trials_per_kernel=3, early_stopping=1, max_trials=cap).budget(10) == budget
