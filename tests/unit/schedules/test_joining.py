"""Which writes are made one, and that nothing of their order within a job is lost."""

import pytest

from tests.unit.schedules.schedule_examples import append, entry, job, model, record
from tunefarm_coordinator.schedules.changes import AddDevices, AddRecords, AppendEvents, Change, DeviceFacts
from tunefarm_coordinator.schedules.joining import ChangeSet, joined

DEVICE = AddDevices((DeviceFacts("f", {"cpu": "x"}),))


def test_outcomes_of_two_jobs_become_three_changes() -> None:
    first, second = record("c1"), record("c2")
    calls = [
        ChangeSet((append("j1", 1), DEVICE, AddRecords((first,)))),
        ChangeSet((append("j2", 1), DEVICE, AddRecords((second,)))),
        ChangeSet((append("j1", 2, 3),)),
    ]
    assert joined(calls) == ChangeSet(
        (
            AppendEvents("j1", (entry(1), entry(2), entry(3))),
            AppendEvents("j2", (entry(1),)),
            AddDevices(DEVICE.devices * 2),
            AddRecords((first, second)),
        )
    )


@pytest.mark.parametrize("change", [model(), job()])
def test_what_others_may_depend_on_stays_by_itself(change: Change) -> None:
    assert joined([ChangeSet((append("j1", 1),)), ChangeSet((change,))]) is None
    assert joined([ChangeSet((append("j1", 1), change))]) is None


def test_calls_that_are_no_changes_stay_by_themselves() -> None:
    assert joined([ChangeSet((append("j1", 1),)), lambda _connection: None]) is None
