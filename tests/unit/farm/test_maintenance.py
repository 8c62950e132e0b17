"""Devices that drain for maintenance, and devices that are put back."""

from tests.unit.farm.farm_scenes import Scene, device, only, work
from tunefarm_coordinator.farm.messages import Cancel, Drained, Grant, LeaseFinished, Requested, Resumed, Tick
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.farm.views import DeviceState

CPU0 = (("a", "cpu0"),)


def test_a_draining_device_ends_what_it_began_and_the_rest_goes_elsewhere() -> None:
    scene = Scene()
    scene.submit(work("w1", items=1), work("w2", items=1))
    scene.attach(slots=2)
    first, second = (grant.lease for grant in scene.grants)
    out = scene.tell(Drained(CPU0, "new fan"))
    assert [each.lease for each in only(Cancel, out)] == [second]
    (view,) = scene.desk.devices()
    assert (view.state, view.reason, view.running) == (DeviceState.DRAINING, "new fan", "measure w1")
    scene.outcome_kept(first, 0)
    scene.tell(LeaseFinished("s1", first))
    assert only(Grant, scene.after(60, Requested("s1", "cpu0", 2))) == []
    other = scene.attach("s2", "b", devices=(device("cpu1"),))
    assert [grant.work.work_id for grant in only(Grant, other)] == ["w2"]
    assert scene.lost == []


def test_a_drain_outlasts_the_agent_and_ends_when_it_is_resumed() -> None:
    scene = Scene()
    scene.tell(Drained(CPU0, "moved"))
    scene.submit(work())
    assert only(Grant, scene.attach()) == []
    assert scene.desk.known("a", "") == [("a", "cpu0")]
    assert only(Grant, scene.attach("s2", boot="b2")) == []
    assert len(only(Grant, scene.tell(Resumed(CPU0)))) == 1


def test_work_that_a_draining_device_alone_could_do_waits_and_is_never_lost() -> None:
    scene = Scene()
    scene.submit(work("w1"), work("w2"))
    scene.attach(slots=2)
    scene.tell(Drained(CPU0, "x"))
    for _ in range(100):
        scene.tell(Requested("s1", "cpu0", 2))
        scene.after(5, Tick())
        scene.tell(Resumed(CPU0))
        scene.tell(Drained(CPU0, "x"))
    assert [item for item in scene.lost if item.work_id == "w2"] == []


def test_the_other_devices_of_the_agent_go_on() -> None:
    scene = Scene()
    scene.tell(Drained(CPU0, "x"))
    scene.submit(work("w1"), work("w2"))
    grants = only(Grant, scene.attach(devices=(device("cpu0"), device("cpu1")), slots=2))
    assert {grant.device_id for grant in grants} == {"cpu1"}


def test_a_device_in_quarantine_is_put_back_before_its_time() -> None:
    scene = Scene(policy=FarmPolicy(strikes=1, quarantine=1000.0))
    scene.submit(work("w1"), work("w2"))
    lease = only(Grant, scene.attach())[0].lease
    scene.tell(LeaseFinished("s1", lease, failure="no session"))
    assert scene.desk.devices()[0].state is DeviceState.QUARANTINED
    scene.tell(Resumed(CPU0))
    assert len(only(Grant, scene.tell(Requested("s1", "cpu0", 1)))) == 1
