"""Devices that others use as well: said, measured again within bounds, rested from, in the end taken as they are."""

import pytest

from tests.unit.farm.farm_scenes import Scene, only, work
from tunefarm_coordinator.farm.messages import (
    Acknowledge,
    Calibration,
    Deliver,
    Grant,
    Heartbeat,
    Instruction,
    LeaseFinished,
    LeaseRef,
    OutcomeArrived,
    OutcomeDurable,
    OutcomeKind,
    Reference,
    Requested,
    Sharing,
    Tick,
    WorkKind,
)
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.farm.views import DeviceState

POLICY = FarmPolicy(session_timeout=1e9)
REFERENCE = Reference("kernel", payload="time it alone")
OPEN = Sharing("python3 (pid 4242)")
BUSY = Sharing("python3 (pid 4242), 30% of its time", busy=True)


class Gpu(Scene):
    """One device that asks for work all the time, and heartbeats of it."""

    def __init__(self) -> None:
        super().__init__(policy=POLICY)
        self.count = 0
        self.attach()

    def beat(self, sharing: Sharing | None, after: float = 2.5) -> None:
        held = tuple(grant.lease for grant in self.grants[-1:])
        self.after(after, Heartbeat("s1", held, shared={} if sharing is None else {"cpu0": sharing}))

    def lease(self) -> LeaseRef:
        self.count += 1
        self.submit(work(f"w{self.count}", items=1, reference=REFERENCE))
        self.tell(Requested("s1", "cpu0", 1))
        return self.grants[-1].lease

    def report(self, lease: LeaseRef, disturbed: bool, kind: OutcomeKind = OutcomeKind.RESULT) -> list[Instruction]:
        event = OutcomeArrived("s1", lease, 0, kind, "report", Calibration(1e-5), disturbed)
        out = self.tell(event)
        for delivered in only(Deliver, out):
            out = out + self.tell(OutcomeDurable(delivered.lease, delivered.index))
        return out + self.tell(LeaseFinished("s1", lease))

    def probe(self, seconds: float) -> LeaseRef:
        self.tell(Requested("s1", "cpu0", 1))
        (grant,) = only(Grant, self.after(seconds, Tick()))
        assert grant.work.kind is WorkKind.CALIBRATE
        return grant.lease

    @property
    def state(self) -> tuple[DeviceState, str]:
        (view,) = self.desk.devices()
        return view.state, view.reason


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


def test_a_process_that_only_has_it_open_is_said_and_changes_nothing(gpu: Gpu) -> None:
    lease = gpu.lease()
    gpu.beat(OPEN)
    assert gpu.state == (DeviceState.BUSY, "shared with python3 (pid 4242)")
    assert len(only(Deliver, gpu.report(lease, disturbed=False))) == 1
    gpu.beat(None)
    assert gpu.state == (DeviceState.IDLE, "")


def test_what_was_measured_while_others_worked_is_measured_again_within_bounds(gpu: Gpu) -> None:
    lease = gpu.lease()
    for _ in range(POLICY.remeasure_tries):
        (dropped,) = only(Acknowledge, gpu.report(lease, disturbed=True))
        assert "others worked on it" in dropped.dropped
        gpu.tell(Requested("s1", "cpu0", 1))
        lease = gpu.grants[-1].lease
    (believed,) = only(Deliver, gpu.report(lease, disturbed=True))
    assert believed.remeasured == POLICY.remeasure_tries
    assert gpu.desk.devices()[0].remeasured == POLICY.remeasure_tries


def test_a_failure_is_one_whoever_else_works(gpu: Gpu) -> None:
    assert len(only(Deliver, gpu.report(gpu.lease(), disturbed=True, kind=OutcomeKind.FAILED))) == 1


def occupied(gpu: Gpu) -> None:
    """Others work on it for longer than drift is borne."""
    gpu.report(gpu.lease(), disturbed=False)
    gpu.beat(BUSY)
    lease = gpu.lease()
    gpu.beat(BUSY, after=POLICY.drift_seconds)
    gpu.report(lease, disturbed=False)


def test_a_device_that_others_work_on_for_long_rests_and_says_why(gpu: Gpu) -> None:
    occupied(gpu)
    state, reason = gpu.state
    assert state is DeviceState.QUARANTINED
    assert reason == f"shared with {BUSY.by}; timed again in {POLICY.drift_rest:.0f} s"


def test_it_comes_back_once_they_are_gone(gpu: Gpu) -> None:
    occupied(gpu)
    gpu.beat(None)
    gpu.report(gpu.probe(POLICY.drift_rest), disturbed=False)
    assert gpu.state == (DeviceState.IDLE, "")


def test_after_its_rests_it_is_taken_as_it_is_and_its_outcomes_are_believed(gpu: Gpu) -> None:
    occupied(gpu)
    for turn in range(POLICY.drift_rests):
        gpu.beat(BUSY, after=0.1)
        gpu.report(gpu.probe(POLICY.drift_rest * 2**turn), disturbed=False)
    assert gpu.state == (DeviceState.IDLE, f"shared with {BUSY.by}")
    lease = gpu.lease()
    gpu.beat(BUSY, after=2 * POLICY.drift_seconds)
    assert len(only(Deliver, gpu.report(lease, disturbed=True))) == 1
    assert gpu.state[0] is DeviceState.IDLE
    # Once they have gone and come back, it is news again.
    gpu.beat(None)
    gpu.beat(BUSY)
    assert only(Deliver, gpu.report(gpu.lease(), disturbed=True)) == []


def test_a_device_without_a_reference_kernel_never_rests_for_others_as_nothing_would_bring_it_back(gpu: Gpu) -> None:
    gpu.submit(work("plain", items=1))
    gpu.tell(Requested("s1", "cpu0", 1))
    lease = gpu.grants[-1].lease
    gpu.beat(BUSY)
    gpu.beat(BUSY, after=2 * POLICY.drift_seconds)
    gpu.report(lease, disturbed=False)
    assert gpu.state == (DeviceState.IDLE, f"shared with {BUSY.by}")
