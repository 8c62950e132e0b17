"""What the best of a workload costs: few statements, and of a workload's records only those that can be it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tests.unit.schedules.schedule_examples import (
    DEVICES,
    WORKLOAD,
    X86,
    ZEN_CLASS,
    comparison,
    record,
    verification,
)
from tunefarm_coordinator.schedules.changes import AddComparison, AddRecords, AddVerifications
from tunefarm_coordinator.schedules.record import Censored, Failed, Source
from tunefarm_coordinator.schedules.store import Store


@contextmanager
def _statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """Those that the store is read with in the block."""
    told: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
        if statement != "BEGIN":
            told.append((statement, given))

    sa.event.listen(store._backend._reading, "before_cursor_execute", note)
    yield told
    sa.event.remove(store._backend._reading, "before_cursor_execute", note)


@pytest.fixture
def tuned(store: Store) -> Store:
    """A store in which a few of a workload's candidates are verified and compared."""
    records = [record(f"c{number}", 1e-3 * (number + 1)) for number in range(40)]
    checks = [verification(f"c{number}") for number in (3, 5, 7)]
    compared = comparison(("c3", 5e-3), ("c5", 4e-3))
    store.write(DEVICES, AddRecords(tuple(records)), AddVerifications(tuple(checks)), AddComparison(compared)).result()
    return store


def test_the_best_is_three_statements(tuned: Store) -> None:
    tuned.best(WORKLOAD, X86, ZEN_CLASS)  # what derives from the devices is read once
    with _statements(tuned) as told:
        assert tuned.best(WORKLOAD, X86, ZEN_CLASS) == (record("c5", 6e-3), True)
    assert len(told) == 3  # the newest device, what is verified, what was compared
    with _statements(tuned) as told:
        tuned.incumbents([WORKLOAD, *(f"w{number}" for number in range(99))], X86, ZEN_CLASS)
    assert len(told) == 3 + 99  # and the fastest of each that has no best


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_records_are_found_by_an_index_alone(tuned: Store) -> None:
    with _statements(tuned) as told:
        tuned.incumbents([WORKLOAD, "untuned"], X86, ZEN_CLASS)
    with tuned._backend.reading() as connection:
        plans = [
            row[3]
            for statement, given in told
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
        ]
    searched = [plan for plan in plans if "records" in plan]
    assert [plan.split(" (")[0] for plan in searched] == [
        "SEARCH records USING INDEX ix_records_workload_target_id_identity",
        "SEARCH records USING INDEX ix_records_workload_target_id_median",
    ]


def test_verified_without_a_valid_record_of_its_own_is_not_best(store: Store) -> None:
    failed, slow = record("failed", outcome=Failed("RUN_ERROR", "")), record("slow", outcome=Censored(1.0))
    theirs = record("theirs", 1e-3, source=Source.IMPORTED)
    checks = AddVerifications(tuple(verification(name) for name in ("failed", "slow", "theirs")))
    store.write(DEVICES, AddRecords((failed, slow, theirs)), checks).result()
    assert store.best(WORKLOAD, X86, ZEN_CLASS) == (theirs, False)


def test_of_a_check_that_failed_at_the_same_time_the_failure_counts(store: Store) -> None:
    checks = [verification("c1", ok=ok, created=created) for ok, created in ((True, 1.0), (True, 2.0), (False, 2.0))]
    store.write(DEVICES, AddRecords((record("c1"),)), AddVerifications(tuple(checks))).result()
    assert store.best(WORKLOAD, X86, ZEN_CLASS) == (record("c1"), False)
    store.write(AddVerifications((verification("c1", created=3.0),))).result()
    assert store.best(WORKLOAD, X86, ZEN_CLASS) == (record("c1"), True)
