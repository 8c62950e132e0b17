"""Measurements of a slowed device: made again, not believed; and a device that stays slow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.farm.farm_scenes import Scene, device, only, work
from tunefarm_coordinator.farm.calibration import ReferenceClock
from tunefarm_coordinator.farm.messages import (
    Acknowledge,
    Calibrated,
    Calibration,
    Cancel,
    Classified,
    Deliver,
    Grant,
    Instruction,
    LeaseFinished,
    LeaseRef,
    OutcomeArrived,
    OutcomeDurable,
    OutcomeKind,
    Reference,
    Requested,
    Resumed,
    Tick,
    WorkKind,
)
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.farm.views import DeviceState

REFERENCE = Reference("kernel", payload="time it alone")
USUAL = 40e-6
POLICY = FarmPolicy()


class Bench(Scene):
    """A device that is calibrated, and a job that never ends."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__(policy=FarmPolicy(session_timeout=1e9))
        self.count = 0
        self.attach(slots=slots)
        for _ in range(POLICY.reference_samples):
            self.measured(USUAL)

    def next_lease(self, items: int = 1) -> LeaseRef:
        self.count += 1
        self.submit(work(f"w{self.count}", items=items, reference=REFERENCE))
        self.tell(Requested("s1", "cpu0", 1))
        return self.grants[-1].lease

    def report(
        self, lease: LeaseRef, index: int, reference: float, kind: OutcomeKind = OutcomeKind.RESULT
    ) -> list[Instruction]:
        out = self.tell(OutcomeArrived("s1", lease, index, kind, "report", Calibration(reference)))
        for delivered in only(Deliver, out):
            out = out + self.tell(OutcomeDurable(delivered.lease, delivered.index))
        return out

    def measured(self, reference: float) -> list[Instruction]:
        lease = self.next_lease()
        out = self.report(lease, 0, reference)
        return out + self.tell(LeaseFinished("s1", lease))

    def drift(self, ratio: float) -> None:
        """Until it rests."""
        started = self.now
        while self.state[0] is not DeviceState.QUARANTINED:
            self.measured(ratio * USUAL)
            self.now += 4
            assert self.now < started + 3 * POLICY.drift_seconds

    @property
    def state(self) -> tuple[DeviceState, str]:
        (view,) = self.desk.devices()
        return view.state, view.reason


def test_a_measurement_of_a_slowed_device_is_made_again_and_not_believed() -> None:
    bench = Bench()
    lease = bench.next_lease(items=2)
    out = bench.report(lease, 0, 2 * USUAL)
    assert only(Deliver, out) == []
    (ack,) = only(Acknowledge, out)
    assert "slowed" in ack.dropped
    bench.report(lease, 1, USUAL)
    bench.tell(LeaseFinished("s1", lease))
    bench.tell(Requested("s1", "cpu0", 1))
    again = bench.grants[-1]
    assert (again.work.work_id, again.indices) == (lease.lease_id, (0,))
    (delivered,) = only(Deliver, bench.report(again.lease, 0, USUAL))
    assert (delivered.remeasured, delivered.slowed) == (1, None)
    assert bench.desk.devices()[0].remeasured == 1
    assert bench.lost == []


def test_an_outcome_that_is_not_believed_and_sent_again_is_acknowledged_again() -> None:
    bench = Bench()
    lease = bench.next_lease(items=2)
    bench.report(lease, 0, 2 * USUAL)
    out = bench.report(lease, 0, 2 * USUAL)
    assert [type(each) for each in out] == [Acknowledge]
    assert bench.desk.devices()[0].remeasured == 1


def test_after_enough_tries_it_is_believed_with_a_note() -> None:
    bench = Bench()
    lease = bench.next_lease()
    for _ in range(POLICY.remeasure_tries):
        assert only(Deliver, bench.report(lease, 0, 3 * USUAL)) == []
        bench.tell(LeaseFinished("s1", lease))
        bench.tell(Requested("s1", "cpu0", 1))
        lease = bench.grants[-1].lease
    (delivered,) = only(Deliver, bench.report(lease, 0, 3 * USUAL))
    assert delivered.remeasured == POLICY.remeasure_tries
    assert delivered.slowed == pytest.approx(3.0)


def test_a_failure_is_one_at_any_speed() -> None:
    bench = Bench()
    lease = bench.next_lease()
    assert len(only(Deliver, bench.report(lease, 0, 3 * USUAL, OutcomeKind.FAILED))) == 1


def test_a_host_that_is_slow_for_minutes_costs_a_tenth_more_and_no_standstill() -> None:
    bench = Bench()
    first = len(bench.grants)
    for _ in range(200):  # each of these works is measured until it is believed
        lease = bench.next_lease()
        while not only(Deliver, bench.report(lease, 0, 1.6 * USUAL)):
            bench.tell(LeaseFinished("s1", lease))
            bench.tell(Requested("s1", "cpu0", 1))
            lease = bench.grants[-1].lease
        bench.tell(LeaseFinished("s1", lease))
    most = POLICY.remeasure_share * (200 + 2 * POLICY.remeasure_window)
    assert 200 < len(bench.grants) - first <= 200 + most


def test_a_device_that_stays_slow_rests_is_probed_with_its_reference_kernel_alone_and_comes_back() -> None:
    bench = Bench()
    bench.drift(1.45)
    state, reason = bench.state
    assert state is DeviceState.QUARANTINED
    assert "1.4x its usual" in reason or "1.5x its usual" in reason
    bench.submit(work("user", items=1, reference=REFERENCE))
    bench.tell(Requested("s1", "cpu0", 1))
    assert only(Grant, bench.after(POLICY.drift_rest - 5, Tick())) == []
    (probe,) = only(Grant, bench.after(2, Tick()))
    assert (probe.work.kind, probe.work.payload) == (WorkKind.CALIBRATE, "time it alone")
    out = bench.report(probe.lease, 0, 1.05 * USUAL)
    assert only(Deliver, out) == []
    assert len(only(Acknowledge, out)) == 1
    out = bench.tell(LeaseFinished("s1", probe.lease)) + bench.tell(Requested("s1", "cpu0", 1))
    assert [grant.work.work_id for grant in only(Grant, out)] == ["user"]
    assert bench.state[0] is DeviceState.BUSY
    bench.report(bench.grants[-1].lease, 0, USUAL)
    bench.tell(LeaseFinished("s1", bench.grants[-1].lease))
    bench.measured(USUAL)
    assert bench.state == (DeviceState.IDLE, "")


def test_a_device_that_is_slower_for_good_is_taken_as_it_is_after_its_rests() -> None:
    bench = Bench()
    bench.drift(2.0)
    probes = 0
    bench.tell(Requested("s1", "cpu0", 1))
    while bench.state[0] is DeviceState.QUARANTINED:
        for grant in only(Grant, bench.after(5, Tick())):
            probes += 1
            bench.report(grant.lease, 0, 2 * USUAL)
            bench.tell(LeaseFinished("s1", grant.lease))
            bench.tell(Requested("s1", "cpu0", 1))
        assert probes <= POLICY.drift_rests
    for _ in range(POLICY.reference_samples):
        bench.measured(2 * USUAL)
    assert only(Calibrated, bench.log)[-1] == Calibrated("print-cpu0", "kernel", 2 * USUAL)
    assert len(only(Deliver, bench.measured(2 * USUAL))) == 1


def test_what_a_drifted_device_has_not_begun_goes_elsewhere() -> None:
    bench = Bench(slots=0)
    bench.attach("s2", "b", devices=(device("cpu1"),), slots=0)
    for _ in range(23):
        bench.measured(1.45 * USUAL)
        bench.now += 4
    running, waiting = bench.next_lease(items=3), bench.next_lease()
    bench.now += 4
    out = bench.report(running, 0, 1.45 * USUAL)
    assert [each.lease for each in only(Cancel, out)] == [waiting]
    (grant,) = only(Grant, bench.tell(Requested("s2", "cpu1", 1)))
    assert grant.work.work_id == waiting.lease_id
    # Outcomes of the lease that it began say nothing of its speed: it rests on.
    bench.report(running, 1, 1.45 * USUAL)
    assert bench.desk.devices()[0].state is DeviceState.QUARANTINED


def test_a_device_that_lost_leases_shows_that_it_is_well_with_its_reference_kernel() -> None:
    bench = Bench()
    bench.next_lease()
    for _ in range(POLICY.strikes):
        bench.tell(LeaseFinished("s1", bench.grants[-1].lease, failure="no session"))
        bench.after(2, Tick())
        bench.tell(Requested("s1", "cpu0", 1))
    assert bench.state[0] is DeviceState.QUARANTINED
    bench.tell(Requested("s1", "cpu0", 1))
    (probe,) = only(Grant, bench.after(POLICY.quarantine + 1, Tick()))
    assert probe.work.kind is WorkKind.CALIBRATE
    bench.tell(LeaseFinished("s1", probe.lease, failure="still none"))
    bench.tell(Requested("s1", "cpu0", 1))
    state, reason = bench.state
    assert state is DeviceState.QUARANTINED
    assert "still none" in reason
    assert only(Grant, bench.after(POLICY.quarantine + 1, Tick())) == []
    (probe,) = only(Grant, bench.after(POLICY.quarantine, Tick()))
    bench.report(probe.lease, 0, USUAL)
    assert bench.state[0] is not DeviceState.QUARANTINED


def test_a_resumed_device_learns_anew_what_is_usual() -> None:
    bench = Bench()
    bench.tell(Resumed((("a", "cpu0"),)))
    assert len(only(Deliver, bench.measured(2 * USUAL))) == 1


def test_the_usual_time_is_told_once_and_again_when_it_moved() -> None:
    bench = Bench()
    assert only(Calibrated, bench.log) == [Calibrated("print-cpu0", "kernel", USUAL)]
    for _ in range(30):
        bench.measured(0.8 * USUAL)
    assert only(Calibrated, bench.log)[1:] == [Calibrated("print-cpu0", "kernel", 0.8 * USUAL)]


def test_another_class_is_another_place_to_work() -> None:
    bench = Bench()
    bench.tell(Classified({"print-cpu0": "slow ones"}))
    bench.submit(work("fast", device_class="fast ones"), work("slow", device_class="slow ones"))
    bench.tell(Requested("s1", "cpu0", 1))
    assert bench.grants[-1].work.work_id == "slow"


def test_a_job_goes_on_with_a_device_whose_class_was_derived_anew() -> None:
    bench = Bench()
    bench.tell(Classified({"print-cpu0": "zen"}))
    bench.submit(work("before", device_class="zen"))
    bench.tell(Classified({"print-cpu0": "zen/2"}))
    bench.submit(work("after", device_class="zen"))
    bench.tell(Requested("s1", "cpu0", 2))
    assert {grant.work.work_id for grant in bench.grants[-2:]} == {"before", "after"}
    bench.attach("s2", "b", devices=(device("cpu1"),))
    bench.tell(Classified({"print-cpu1": "zen"}))
    bench.submit(work("more", device_class="zen"))
    assert (bench.grants[-1].work.work_id, bench.grants[-1].device_id) == ("more", "cpu1")


@given(st.lists(st.floats(1e-6, 1e-3), min_size=1, max_size=200))
def test_what_is_usual_lies_among_what_was_seen_and_never_rises_by_itself(seen: list[float]) -> None:
    clock = ReferenceClock(POLICY)
    before = float("inf")
    for at, seconds in enumerate(seen):
        clock.note("kernel", Calibration(seconds), float(at))
        if clock.usual is not None:
            assert min(seen) <= clock.usual <= min(before, max(seen))
            before = clock.usual
