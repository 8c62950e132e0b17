"""Sessions and leases: who gets what, and what becomes of it when somebody disappears."""

import pytest

from tests.unit.farm.farm_scenes import Scene, device, only, work
from tunefarm_coordinator.errors import Conflict, InvalidInput
from tunefarm_coordinator.farm.messages import (
    Acknowledge,
    Cancel,
    Deliver,
    Detached,
    EndReason,
    EndSession,
    Forget,
    Grant,
    Heartbeat,
    LeaseFinished,
    LeaseRef,
    LossKind,
    OutcomeDurable,
    OutcomeKind,
    OutcomeRefused,
    Requested,
    Suspected,
    Tick,
    Withdrawn,
)
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.farm.views import DeviceState


def test_work_waits_for_a_device_and_each_outcome_is_acknowledged_only_when_durable() -> None:
    scene = Scene()
    assert scene.submit(work(items=2)) == []
    grant = only(Grant, scene.attach())[0]
    assert (grant.session, grant.device_id, grant.indices) == ("s1", "cpu0", (0, 1))
    assert grant.lease == LeaseRef("w1", 1)

    arrived = scene.outcome(grant.lease, 0)
    assert [type(each) for each in arrived] == [Deliver]
    assert only(Deliver, arrived)[0].late is False
    assert scene.tell(OutcomeDurable(grant.lease, 0)) == [Acknowledge("s1", grant.lease, 0)]


def test_an_outcome_sent_again_is_delivered_once() -> None:
    scene = Scene()
    scene.submit(work(items=2))
    lease = only(Grant, scene.attach())[0].lease
    scene.outcome(lease, 0)
    assert scene.outcome(lease, 0) == []  # not durable yet: no answer, no second delivery
    assert scene.tell(OutcomeDurable(lease, 0)) == [Acknowledge("s1", lease, 0)]
    assert scene.outcome(lease, 0) == [Acknowledge("s1", lease, 0)]
    assert len(scene.delivered) == 1


def test_attempts_of_another_epoch_differ() -> None:
    scene = Scene(epoch=7)
    scene.submit(work())
    assert only(Grant, scene.attach())[0].lease.attempt == 7001


def test_an_agent_that_comes_back_in_time_keeps_its_lease() -> None:
    scene = Scene()
    scene.submit(work())
    lease = only(Grant, scene.attach())[0].lease
    scene.tell(Detached("s1"))
    scene.attach("other", "b")
    scene.now += 9
    assert scene.attach("s2", leases=(lease,)) == []
    delivered = only(Deliver, scene.outcome(lease, 0, "s2"))
    assert [each.late for each in delivered] == [False]
    assert len(scene.grants) == 1


def test_an_agent_that_stays_away_loses_its_lease_to_another_and_what_it_brings_late_is_kept() -> None:
    scene = Scene()
    scene.submit(work())
    first = only(Grant, scene.attach())[0].lease
    scene.outcome_kept(first, 0)
    scene.tell(Detached("s1"))
    scene.attach("other", "b")
    second = only(Grant, scene.after(11, Heartbeat("other", ())) + scene.tell(Tick()))[0]
    assert (second.session, second.indices) == ("other", (1, 2))

    back = scene.attach("s2", leases=(first,))
    assert [each.lease for each in only(Cancel, back)] == [first]
    assert only(Forget, back) == []  # it still brings outcomes
    assert [each.late for each in only(Deliver, scene.outcome(first, 1, "s2"))] == [True]
    assert Acknowledge("s2", first, 1) in scene.tell(OutcomeDurable(first, 1))
    assert [each.late for each in only(Deliver, scene.outcome(second.lease, 1, "other"))] == [True]
    assert [each.late for each in only(Deliver, scene.outcome(second.lease, 2, "other"))] == [False]


def test_a_lease_whose_items_all_came_from_elsewhere_is_cancelled() -> None:
    scene = Scene()
    scene.submit(work(items=1))
    first = only(Grant, scene.attach())[0].lease
    scene.tell(Detached("s1"))
    scene.attach("other", "b")
    second = only(Grant, scene.after(11, Heartbeat("other", ())) + scene.tell(Tick()))[0].lease
    scene.attach("s2", leases=(first,))
    cancelled = only(Cancel, scene.outcome_kept(first, 0, "s2"))
    assert [(each.session, each.lease) for each in cancelled] == [("other", second)]


def test_the_item_that_costs_a_second_device_is_a_run_error_and_never_granted_again() -> None:
    scene = Scene()
    scene.submit(work())
    first = only(Grant, scene.attach())[0].lease
    scene.outcome_kept(first, 0)  # then it dies on item 1
    scene.tell(Detached("s1"))
    second = only(Grant, scene.after(11, Tick()) + scene.attach("s2", "b"))[0]
    assert second.indices == (1, 2)
    scene.tell(Detached("s2"))
    scene.after(11, Tick())
    assert [(each.index, each.kind) for each in scene.lost] == [(1, LossKind.RUN_ERROR)]
    assert only(Grant, scene.attach("s3", "c"))[0].indices == (2,)


def test_a_lease_that_only_waited_behind_another_suspects_nothing() -> None:
    scene = Scene()
    scene.submit(work("w1"), work("w2"))
    scene.attach(slots=2)
    for number in (2, 3):
        scene.tell(Detached(f"s{number - 1}"))
        scene.after(11, Tick())
        scene.attach(f"s{number}", slots=2)
    assert [(each.work_id, each.index) for each in scene.lost if each.kind is LossKind.RUN_ERROR] == [("w1", 0)]


def test_three_grants_in_a_row_without_an_outcome_end_the_items_as_device_lost() -> None:
    scene = Scene()
    scene.submit(work())
    scene.attach()
    for _ in range(3):
        scene.tell(LeaseFinished("s1", scene.grants[-1].lease, "no space left on device"))
        scene.after(2, Requested("s1", "cpu0", 1))
    assert len(scene.grants) == 3
    assert {(each.index, each.kind) for each in scene.lost} == {(i, LossKind.DEVICE_LOST) for i in range(3)}
    assert all("no space left on device" in each.message for each in scene.lost)


def test_a_lease_given_up_goes_to_another_device_first() -> None:
    scene = Scene()
    scene.submit(work())
    first = only(Grant, scene.attach("s1", "a"))[0]
    scene.attach("s2", "b")
    scene.tell(LeaseFinished("s1", first.lease, "artifact does not load"))
    scene.tell(Requested("s1", "cpu0", 1))
    assert [each.session for each in only(Grant, scene.after(2, Tick()))] == ["s2"]
    assert scene.lost == []


def test_work_that_a_device_lost_goes_to_another_even_one_with_less_room() -> None:
    scene = Scene()
    scene.submit(work("w1"), work("w2"))
    scene.attach("s1", "a")
    scene.attach("s2", "b", slots=2)
    assert [(grant.session, grant.work.work_id) for grant in scene.grants] == [("s1", "w1"), ("s2", "w2")]
    scene.tell(LeaseFinished("s1", scene.grants[0].lease, "artifact does not load"))
    scene.tell(Requested("s1", "cpu0", 1))
    assert [grant.session for grant in only(Grant, scene.after(2, Tick()))] == ["s2"]
    assert scene.desk.devices()[0].state is DeviceState.IDLE


def test_work_whose_last_outcome_is_on_its_way_to_the_disk_is_given_to_nobody() -> None:
    scene = Scene()
    scene.submit(work(items=1))
    lease = only(Grant, scene.attach())[0].lease
    scene.tell(Detached("s1"))
    scene.after(11, Tick())
    scene.attach("s2", leases=(), slots=0)
    scene.outcome(lease, 0, "s2")
    assert only(Grant, scene.attach("s3", "b")) == []
    refused = scene.tell(OutcomeRefused(lease, 0, "disk full"))  # its agent may bring it again, for a while
    assert only(Grant, refused + scene.after(4, Tick())) == []
    assert [grant.indices for grant in only(Grant, scene.after(2, Tick()))] == [(0,)]


def test_an_outcome_that_comes_again_over_a_new_stream_is_acknowledged_there() -> None:
    scene = Scene()
    scene.submit(work())
    lease = only(Grant, scene.attach())[0].lease
    scene.outcome(lease, 0)
    scene.tell(Detached("s1"))
    scene.attach("s2", leases=(lease,))
    assert scene.outcome(lease, 0, "s2") == []
    assert scene.tell(OutcomeDurable(lease, 0)) == [Acknowledge("s2", lease, 0)]


def test_an_agent_that_is_through_with_a_lease_is_not_told_to_cancel_it() -> None:
    scene = Scene()
    scene.submit(work(items=1))
    lease = only(Grant, scene.attach())[0].lease
    assert only(Cancel, scene.outcome_kept(lease, 0)) == []
    assert only(Cancel, scene.tell(Heartbeat("s1", (lease,)))) == []  # it tidies up
    assert scene.tell(Withdrawn(("w1",))) == []


def test_an_agent_that_reports_a_lost_device_gets_the_item_again_once() -> None:
    scene = Scene()
    scene.submit(work(items=2))
    lease = only(Grant, scene.attach())[0].lease
    assert scene.outcome(lease, 0, kind=OutcomeKind.DEVICE_LOST) == [
        Acknowledge("s1", lease, 0),
        Suspected("w1", 0, 1),
    ]
    assert scene.outcome(lease, 0, kind=OutcomeKind.DEVICE_LOST) == [Acknowledge("s1", lease, 0)]
    scene.outcome_kept(lease, 1)
    scene.tell(LeaseFinished("s1", lease))
    second = only(Grant, scene.tell(Requested("s1", "cpu0", 1)))[0]
    assert second.indices == (0,)
    assert scene.lost == []
    scene.outcome(second.lease, 0, kind=OutcomeKind.DEVICE_LOST)
    assert [(each.index, each.kind) for each in scene.lost] == [(0, LossKind.RUN_ERROR)]


def test_a_cancelled_item_is_no_outcome() -> None:
    scene = Scene()
    scene.submit(work(items=1))
    lease = only(Grant, scene.attach())[0].lease
    assert scene.outcome(lease, 0, kind=OutcomeKind.CANCELLED) == [Acknowledge("s1", lease, 0)]
    scene.tell(LeaseFinished("s1", lease))
    assert only(Grant, scene.tell(Requested("s1", "cpu0", 1)))[0].indices == (0,)


def test_an_agent_whose_process_died_has_its_item_suspected_even_if_it_still_holds_outcomes() -> None:
    scene = Scene()
    scene.submit(work())
    first = only(Grant, scene.attach())[0].lease
    scene.attach("s2", boot="b2", leases=(first,))
    scene.outcome_kept(first, 0, "s2")
    scene.tell(LeaseFinished("s2", first, "the agent was started again"))
    second = only(Grant, scene.after(2, Requested("s2", "cpu0", 1)))[0]
    assert second.indices == (1, 2)
    scene.attach("s3", boot="b3")
    assert [(each.index, each.kind) for each in scene.lost] == [(1, LossKind.RUN_ERROR)]


def test_the_same_process_without_its_lease_suspects_nothing() -> None:
    scene = Scene()
    scene.submit(work())
    scene.attach()
    for number in (2, 3):  # the grant never reached the agent
        scene.attach(f"s{number}")
    assert scene.lost == []
    assert len(scene.grants) == 3


def test_a_return_after_the_session_was_lost_clears_the_suspect() -> None:
    scene = Scene()
    scene.submit(work())
    lease = only(Grant, scene.attach())[0].lease
    for number in (2, 3, 4):
        scene.tell(Detached(f"s{number - 1}"))
        scene.after(11, Tick())
        assert scene.attach(f"s{number}", leases=(lease,)) == [Suspected("w1", 0, 0)]
    assert scene.lost == []
    assert len(scene.grants) == 1


def test_after_a_restart_the_agent_that_holds_the_work_goes_on_with_it() -> None:
    scene = Scene(epoch=2)
    scene.attach("new", "b")
    assert scene.submit(work(indices=(1, 2)), resumed=True) == []
    scene.now += 4
    held = LeaseRef("w1", 1001)
    assert scene.attach("s1", "a", leases=(held,)) == []
    assert [(each.index, each.late) for each in only(Deliver, scene.outcome_kept(held, 1))] == [(1, False)]
    # Durable before the restart, but the acknowledgement was lost: kept as a measurement.
    assert [(each.index, each.late) for each in only(Deliver, scene.outcome_kept(held, 0))] == [(0, True)]
    assert scene.grants == []


def test_after_a_restart_work_that_nobody_holds_waits_only_the_grace() -> None:
    scene = Scene(epoch=1)
    scene.attach()
    scene.submit(work(), resumed=True)
    assert only(Grant, scene.after(4.9, Tick())) == []
    assert len(only(Grant, scene.after(0.2, Heartbeat("s1", ())) + scene.tell(Tick()))) == 1


@pytest.mark.parametrize("named", ["gpu0", "gpu1"])
def test_a_lease_of_an_earlier_epoch_is_the_devices_that_its_agent_names(named: str) -> None:
    """Two equal GPUs, a restart between grant and outcome: what was measured counts, and of the right one."""
    scene = Scene(epoch=1)
    scene.submit(work(items=2), resumed=True)
    held, twins = LeaseRef("w1", 1), (device("gpu0"), device("gpu1"))
    assert only(Cancel, scene.attach(devices=twins, leases=(held,), held_on={held: named})) == []
    assert [each.device.device_id for each in only(Deliver, scene.outcome(held, 0, device_id=named))] == [named]
    # One that was sent again after the agent's own restart: its lease is over, its outcome is not lost.
    other = LeaseRef("w1", 2)
    told = scene.outcome(other, 1, device_id=named)
    assert [each.device.device_id for each in only(Deliver, told)] == [named]
    assert not only(Acknowledge, told)


def test_a_lease_of_an_earlier_epoch_is_not_adopted_where_its_device_is_in_doubt() -> None:
    """An agent that names no device."""
    scene = Scene(epoch=1)
    scene.submit(work(), resumed=True)
    held = LeaseRef("w1", 1)
    out = scene.attach(devices=(device("gpu0"), device("gpu1")), leases=(held,))
    assert [each.lease for each in only(Cancel, out)] == [held]
    assert only(Acknowledge, scene.outcome(held, 0))[0].dropped


def test_what_an_agent_brings_before_its_job_is_back_from_a_restart_waits_for_the_job() -> None:
    scene = Scene(epoch=1)
    held = LeaseRef("w1", 2)
    assert scene.attach(leases=(held,)) == []
    assert scene.outcome(held, 0) == []  # neither forgotten nor acknowledged
    assert scene.after(8, Heartbeat("s1", (held,))) == []
    out = scene.submit(work(items=2), resumed=True)
    assert [(each.index, each.late) for each in only(Deliver, out)] == [(0, False)]
    assert only(Grant, scene.after(9, Heartbeat("s1", (held,))) + scene.tell(Tick())) == []


def test_what_no_job_asks_for_after_a_restart_is_dropped_in_the_end() -> None:
    scene = Scene(epoch=1, policy=FarmPolicy(session_timeout=1e9))
    held = LeaseRef("w1", 2)
    scene.attach(leases=(held,))
    scene.outcome(held, 0)
    out = scene.after(121, Tick())
    assert [each.lease for each in only(Cancel, out)] == [held]
    assert [bool(each.dropped) for each in only(Acknowledge, out)] == [True]


def test_unknown_leases_are_to_be_forgotten_and_their_outcomes_dropped() -> None:
    scene = Scene()
    stale = LeaseRef("gone", 4)
    assert only(Forget, scene.attach(leases=(stale,))) == [Forget("s1", (stale,))]
    assert only(Acknowledge, scene.outcome(stale, 0))[0].dropped


def test_a_second_attach_of_an_agent_ends_the_older_session() -> None:
    scene = Scene()
    scene.attach("s1")
    ended = only(EndSession, scene.attach("s2"))
    assert [(each.session, each.reason) for each in ended] == [("s1", EndReason.REPLACED)]
    assert scene.desk.present_sessions() == ["s2"]


def test_a_silent_session_is_ended_and_a_heartbeat_keeps_one() -> None:
    scene = Scene()
    scene.attach("s1", "a")
    scene.attach("s2", "b")
    scene.after(9, Heartbeat("s1", ()))
    ended = only(EndSession, scene.after(2, Tick()))
    assert [(each.session, each.reason) for each in ended] == [("s2", EndReason.SILENT)]


def test_a_refused_outcome_is_not_acknowledged_and_its_agent_brings_it_again() -> None:
    scene = Scene()
    scene.submit(work(items=1))
    lease = only(Grant, scene.attach())[0].lease
    scene.outcome(lease, 0)
    scene.tell(LeaseFinished("s1", lease))
    out = scene.tell(OutcomeRefused(lease, 0, "disk full"))
    assert [(each.reason, each.message) for each in only(EndSession, out)] == [(EndReason.OUTCOME_REFUSED, "disk full")]
    assert only(Acknowledge, scene.log) == []
    scene.attach("s2", leases=(lease,))
    assert only(Acknowledge, scene.outcome_kept(lease, 0, "s2")) == [Acknowledge("s2", lease, 0)]
    assert [each.late for each in scene.delivered] == [False, False]
    scene.after(20, Tick())
    assert len(scene.grants) == 1


def test_a_lease_that_outlives_its_limit_is_taken_back_and_the_one_behind_it_gets_its_own_time() -> None:
    policy = FarmPolicy(session_timeout=1e9)
    scene = Scene(policy=policy)
    scene.submit(work("w1", time_limit=10.0, fetch_limit=5.0), work("w2", time_limit=10.0, fetch_limit=5.0))
    scene.attach(slots=2)
    first, second = (grant.lease for grant in scene.grants)
    assert only(Cancel, scene.after(29, Tick())) == []
    assert [each.lease for each in only(Cancel, scene.after(2, Tick()))] == [first]
    assert [each.lease for each in only(Cancel, scene.after(29, Tick()))] == []
    assert [each.lease for each in only(Cancel, scene.after(2, Tick()))] == [second]


def test_time_that_a_lease_waits_at_its_agent_does_not_count() -> None:
    policy = FarmPolicy(session_timeout=1e9)
    scene = Scene(policy=policy)
    scene.submit(work("w1", time_limit=10.0, fetch_limit=5.0))
    lease = only(Grant, scene.attach())[0].lease
    for _ in range(40):  # the gate is closed for 100 s
        scene.after(2.5, Heartbeat("s1", (lease,), waiting=frozenset({lease})))
    assert only(Cancel, scene.after(29, Tick())) == []
    scene.tell(Heartbeat("s1", (lease,)))
    assert [each.lease for each in only(Cancel, scene.after(2, Tick()))] == [lease]


def test_what_a_device_was_lost_over_before_a_restart_counts_after_it() -> None:
    scene = Scene(epoch=1)
    scene.submit(work(suspicions={0: 1}))
    scene.attach()
    scene.tell(Detached("s1"))
    scene.after(11, Tick())
    assert [(item.index, item.kind) for item in scene.lost] == [(0, LossKind.RUN_ERROR)]


def test_a_heartbeat_repairs_both_sides() -> None:
    scene = Scene()
    scene.submit(work())
    lease = only(Grant, scene.attach())[0].lease
    stranger = LeaseRef("w9", 1)
    out = scene.after(6, Heartbeat("s1", (stranger,)))
    assert [each.lease for each in only(Cancel, out)] == [stranger, lease]
    again = only(Grant, scene.tell(Requested("s1", "cpu0", 1)))
    assert [each.lease.attempt for each in again] == [lease.attempt + 1]


def test_withdrawn_work_is_cancelled_and_its_attempts_are_never_used_again() -> None:
    scene = Scene()
    scene.submit(work("w1"), work("w2"))
    lease = only(Grant, scene.attach())[0].lease
    out = scene.tell(Withdrawn(("w1",), reason="job cancelled"))
    assert out[0] == Cancel("s1", lease, "job cancelled")
    assert only(Acknowledge, scene.outcome(lease, 0))[0].dropped
    scene.tell(Requested("s1", "cpu0", 2))
    scene.submit(work("w1"))
    assert [grant.lease for grant in scene.grants][-1] == LeaseRef("w1", 2)
    scene.tell(Withdrawn(job_id="job"))
    assert scene.desk.waiting() == 0
    assert scene.attach("s2", "b") == []


def test_an_outcome_on_its_way_to_the_disk_is_acknowledged_even_if_its_work_is_withdrawn_meanwhile() -> None:
    scene = Scene()
    scene.submit(work())
    lease = only(Grant, scene.attach())[0].lease
    scene.outcome(lease, 0)
    scene.tell(Withdrawn(("w1",)))
    assert scene.tell(OutcomeDurable(lease, 0)) == [Acknowledge("s1", lease, 0)]


def test_submitting_known_work_again_changes_nothing_and_finished_work_is_a_conflict() -> None:
    scene = Scene()
    scene.submit(work(items=1))
    scene.submit(work(items=1))
    lease = only(Grant, scene.attach(slots=2))[0].lease
    assert len(scene.grants) == 1
    scene.outcome_kept(lease, 0)
    with pytest.raises(Conflict):
        scene.submit(work(items=1))


@pytest.mark.parametrize("bad", [{"indices": (3,)}, {"item_count": 0}, {"target": "llvm -mcpu=znver4"}])
def test_work_that_makes_no_sense_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Scene().submit(work(**bad))  # type: ignore[arg-type]


def test_a_device_that_keeps_losing_leases_rests_and_proves_itself_with_one_lease() -> None:
    scene = Scene()
    scene.submit(*(work(f"w{i}") for i in range(9)))
    scene.attach()
    for _ in range(3):
        scene.tell(LeaseFinished("s1", scene.grants[-1].lease, "device reset"))
        scene.tell(Requested("s1", "cpu0", 2 if len(scene.grants) == 3 else 1))
    view = scene.desk.devices()[0]
    assert view.state is DeviceState.QUARANTINED
    assert "device reset" in view.reason
    scene.after(29, Heartbeat("s1", ()))
    scene.tell(Tick())
    assert len(scene.grants) == 3
    scene.after(2, Tick())
    assert len(scene.grants) == 4  # two slots asked for, one lease on probation
    scene.outcome(scene.grants[-1].lease, scene.grants[-1].indices[0])
    scene.tell(Tick())
    assert len(scene.grants) == 5


def test_devices_are_listed_with_what_they_do() -> None:
    scene = Scene()
    scene.submit(work())
    scene.attach("s1", "a", devices=(device("cpu0"), device("cpu1")))
    states = {view.device.device_id: (view.state, view.running) for view in scene.desk.devices()}
    assert states == {"cpu0": (DeviceState.BUSY, "measure w1"), "cpu1": (DeviceState.IDLE, "")}
    scene.tell(Detached("s1"))
    assert {view.state for view in scene.desk.devices()} == {DeviceState.LOST}
    scene.after(4000, Tick())
    scene.tell(Tick())
    assert scene.desk.devices() == []


def test_an_agent_with_devices_of_one_name_is_refused_and_changes_nothing() -> None:
    scene = Scene()
    with pytest.raises(InvalidInput):
        scene.attach(devices=(device("cpu0"), device("cpu0")))
    assert scene.desk.devices() == []
