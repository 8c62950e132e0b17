"""Who else uses a GPU, as far as the driver tells; and that what it does not tell breaks nothing."""

import os
from pathlib import Path

import pytest

from tests.unit.agent.fake_nvml import FakeNvml
from tunefarm_agent import wire
from tunefarm_agent.gpu_watch import GpuReading, GpuWatch
from tunefarm_agent.nvidia import Gpu
from tunefarm_proto.v1 import farm_pb2

OURS, THEIRS = 101, 4242


class Watched:
    """A watch on a fake GPU, with a clock that the test moves."""

    def __init__(self, own: tuple[int, ...] = (OURS,)) -> None:
        self.nvml = FakeNvml()
        self.now = 100.0
        self.living = {OURS, THEIRS}
        self.watch = GpuWatch(
            Gpu(0, "GPU-1", "NVIDIA Fake", (9, 0), 80 << 30),
            own=lambda: own,
            nvml=self.nvml,
            clock=lambda: self.now,
            alive=lambda pid: pid in self.living,
        )

    def look(self, inside: bool = False) -> GpuReading:
        """After a while: a look that is young is not made again."""
        self.now += 10.0
        return self.watch.look(inside)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_clocks_and_throttle_reasons_travel_with_an_outcome(watched: Watched) -> None:
    watched.nvml.reasons = 0x24
    conditions = wire.reading_to_wire(watched.look())
    assert (conditions.sm_clock_mhz, conditions.memory_clock_mhz, conditions.throttle_reasons) == (1980, 2619, 0x24)
    assert (conditions.strangers, conditions.disturbed) == (0, False)


def test_a_gpu_of_our_own_has_no_strangers(watched: Watched) -> None:
    watched.nvml.processes, watched.nvml.shares, watched.nvml.moment = [OURS], {OURS: 99}, 5
    with watched.watch.at_work():
        reading = watched.look(inside=True)
    assert (reading.strangers, reading.busy, reading.by) == (0, False, "")


def test_a_stranger_that_has_it_open_is_named_and_is_busy_once_it_works(watched: Watched) -> None:
    watched.nvml.processes, watched.nvml.shares, watched.nvml.moment = [OURS, THEIRS], {OURS: 60, THEIRS: 1}, 5
    with watched.watch.at_work():
        idle = watched.look(inside=True)
        watched.nvml.shares, watched.nvml.moment = {OURS: 60, THEIRS: 30}, 6
        busy = watched.look(inside=True)
        past = watched.look(inside=True)
    assert (idle.strangers, idle.busy, idle.by) == (1, False, f"a process (pid {THEIRS})")
    assert (busy.busy, busy.by) == (True, f"a process (pid {THEIRS}), 30% of its time")
    assert not past.busy, "what it did before was counted twice"


def test_a_process_is_called_by_its_name() -> None:
    watched = Watched()
    watched.living.add(os.getpid())
    watched.nvml.processes = [OURS, os.getpid()]
    name = Path("/proc/self/comm").read_text().strip()
    assert watched.look(inside=True).by == f"{name} (pid {os.getpid()})"


def test_a_process_that_ended_and_is_still_listed_is_nobody(watched: Watched) -> None:
    watched.nvml.processes = [OURS, THEIRS]
    assert watched.look(inside=True).strangers == 1
    watched.living.remove(THEIRS)
    assert watched.look(inside=True).strangers == 0


def test_numbers_of_another_namespace_are_not_taken_for_strangers_while_we_work(watched: Watched) -> None:
    """In a container our own sessions stand there under numbers that we don't know."""
    watched.nvml.processes = [90001]
    with watched.watch.at_work():
        assert watched.look(inside=True).strangers == 0
    watched.now += 10.0
    watched.nvml.processes = []
    assert watched.look().by == ""
    watched.nvml.processes = [90002, 90003]
    assert watched.look().by == "2 processes of others"
    with watched.watch.at_work():
        watched.nvml.processes = [90001, 90002, 90003]
        assert watched.look(inside=True).strangers == 2, "who was there before is there still"


def test_a_gpu_that_works_while_nothing_of_ours_does_is_shared(watched: Watched) -> None:
    watched.nvml.utilisation = 80
    with watched.watch.at_work():
        assert not watched.look().busy
    reading = watched.look()
    assert (reading.busy, reading.by) == (True, "somebody else, 80% of its time")


def test_our_own_work_is_not_held_against_others_right_after_it(watched: Watched) -> None:
    with watched.watch.at_work():
        watched.look()
    watched.nvml.utilisation = 95
    watched.now += 1.0
    assert not watched.watch.look().busy


@pytest.mark.parametrize("silence", [FakeNvml.NVMLError, FakeNvml.NVMLLibraryMismatchError])
@pytest.mark.parametrize(
    "silent",
    [{"handle"}, {"processes"}, {"shares"}, {"utilisation"}, {"clocks", "reasons", "processes", "utilisation"}],
    ids=lambda silent: "+".join(sorted(silent)),
)
def test_what_the_driver_does_not_tell_is_unknown_and_fails_nothing(
    watched: Watched, silent: set[str], silence: type[Exception]
) -> None:
    watched.nvml.silent, watched.nvml.silence = silent, silence
    watched.nvml.processes, watched.nvml.shares, watched.nvml.moment = [OURS, THEIRS], {THEIRS: 50}, 5
    with watched.watch.at_work():
        reading = watched.look(inside=True)
    conditions = wire.reading_to_wire(reading)
    assert conditions.HasField("sm_clock_mhz") == silent.isdisjoint({"handle", "clocks"})
    assert conditions.HasField("strangers") == silent.isdisjoint({"handle", "processes"})
    assert reading.busy == (silent == {"utilisation"})
    watched.look()


def test_a_host_without_nvml_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunefarm_agent.gpu_watch.nvml_of_driver", lambda: None)
    watch = GpuWatch(Gpu(0, "GPU-1", "NVIDIA Fake", (9, 0), 80 << 30), own=tuple)
    assert watch.look() == GpuReading()
    assert wire.reading_to_wire(watch.look()) == farm_pb2.Conditions()


def test_looks_in_quick_succession_ask_the_driver_once(watched: Watched) -> None:
    watched.look()
    asked = len(watched.nvml.asked)
    watched.watch.look()
    watched.watch.look()
    assert len(watched.nvml.asked) == asked


def test_a_lease_that_is_over_sooner_than_a_look_gets_old_tells_whose_numbers_these_are(watched: Watched) -> None:
    watched.look()
    watched.nvml.processes = [OURS]
    with watched.watch.at_work():
        watched.watch.look(inside=True)
    watched.nvml.processes = [THEIRS]
    assert watched.look().by == f"a process (pid {THEIRS})"
