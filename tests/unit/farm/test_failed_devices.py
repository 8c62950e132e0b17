"""Devices that say themselves that they can't do their work: they rest at once, and cost no job anything."""

import pytest

from tests.unit.farm.farm_scenes import Scene, device, only, work
from tunefarm_coordinator.farm.messages import (
    Calibration,
    Cancel,
    Grant,
    LeaseFinished,
    OutcomeArrived,
    OutcomeKind,
    Reference,
    Requested,
    Resumed,
    Tick,
    Unserved,
    WorkKind,
)
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.farm.views import DeviceState

WHY = "its reference kernel can't be timed, not even in a fresh session: RUN_ERROR: bus"
POLICY = FarmPolicy(session_timeout=1e9)
REFERENCE = Reference("kernel", payload="time it alone")


@pytest.fixture
def scene() -> Scene:
    return Scene(policy=POLICY)


def fail(scene: Scene, at: int = -1, session: str = "s1") -> None:
    scene.tell(LeaseFinished(session, scene.grants[at].lease, WHY, device_failed=True))


def fail_and_rest(scene: Scene, times: int) -> None:
    """The device fails, rests, is probed and fails again."""
    for turn in range(times):
        fail(scene)
        scene.tell(Requested("s1", "cpu0", 1))
        if turn < times - 1:
            (probe,) = only(Grant, scene.after(POLICY.quarantine * 2**turn + 1, Tick()))
            assert probe.work.kind is WorkKind.CALIBRATE


def test_it_rests_at_the_first_word_of_it_and_says_why(scene: Scene) -> None:
    scene.attach(slots=2)
    scene.submit(work("now", reference=REFERENCE), work("next"))
    fail(scene, at=0)
    (view,) = scene.desk.devices()
    assert view.state is DeviceState.QUARANTINED
    assert view.reason == f"{WHY}; tried again in 30 s"
    # What it held and had not begun goes back in line.
    assert [cancel.lease for cancel in only(Cancel, scene.log)] == [scene.grants[1].lease]
    scene.attach("s2", "b", devices=(device("cpu1"),), slots=2)
    scene.after(POLICY.retry_delay, Tick())
    assert {grant.work.work_id for grant in scene.grants[2:]} == {"now", "next"}
    assert {grant.session for grant in scene.grants[2:]} == {"s2"}
    assert scene.lost == []


def test_work_is_not_lost_with_devices_that_fail_however_many(scene: Scene) -> None:
    for at in range(POLICY.attempts + 2):
        scene.attach(f"s{at}", f"agent{at}", devices=(device(f"gpu{at}"),))
    scene.submit(work("w", reference=REFERENCE))
    for _ in range(POLICY.attempts + 1):
        fail(scene, session=scene.grants[-1].session)
        scene.after(POLICY.retry_delay, Tick())
    grant = scene.grants[-1]
    for index in range(3):
        scene.outcome_kept(grant.lease, index, grant.session)
    assert scene.lost == []
    assert only(Unserved, scene.log) == []


def test_it_comes_back_when_its_reference_kernel_runs_again(scene: Scene) -> None:
    scene.attach()
    scene.submit(work("w", reference=REFERENCE))
    fail(scene)
    scene.tell(Requested("s1", "cpu0", 1))
    (probe,) = only(Grant, scene.after(POLICY.quarantine + 1, Tick()))
    scene.tell(OutcomeArrived("s1", probe.lease, 0, OutcomeKind.RESULT, "report", Calibration(1e-5)))
    scene.tell(Requested("s1", "cpu0", 1))
    assert scene.grants[-1].work.work_id == "w"
    assert scene.desk.devices()[0].state is DeviceState.BUSY


def test_work_that_only_failing_devices_could_do_is_told_not_to_wait(scene: Scene) -> None:
    scene.attach()
    scene.submit(work("w", reference=REFERENCE))
    fail_and_rest(scene, POLICY.hopeless - 1)
    assert only(Unserved, scene.tell(Tick())) == []
    scene.after(2 * POLICY.quarantine + 1, Tick())
    fail(scene)
    (told,) = only(Unserved, scene.after(1, Tick()))
    assert told.work_id == "w"
    assert WHY in told.reason
    assert "a/cpu0 rested 3 times in vain" in told.reason
    assert "tunefarm farm resume a/cpu0" in told.reason
    # Work for other devices is told nothing, nor is this once a sound device is there.
    scene.submit(work("elsewhere", target='{"kind": "cuda"}'))
    assert {each.work_id for each in only(Unserved, scene.after(1, Tick()))} == {"w"}
    scene.attach("s2", "b", devices=(device("cpu1"),))
    assert only(Unserved, scene.after(1, Tick())) == []
    assert scene.grants[-1].session == "s2"


def test_a_person_who_puts_it_back_gives_it_another_chance(scene: Scene) -> None:
    scene.attach()
    scene.submit(work("w", reference=REFERENCE))
    fail_and_rest(scene, POLICY.hopeless)
    scene.tell(Resumed((("a", "cpu0"),)))
    assert only(Unserved, scene.after(1, Tick())) == []
    assert scene.grants[-1].work.kind is WorkKind.CALIBRATE


def test_devices_that_are_only_slow_are_waited_for(scene: Scene) -> None:
    scene.attach()
    health = scene.desk._roster.devices["a", "cpu0"].health
    for _ in range(POLICY.hopeless):
        health.slow(scene.now, 2.0)
    assert not health.hopeless
