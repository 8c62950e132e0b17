"""Where nothing works, two rounds are enough to know it; where anything does, no round waits for long."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.jobs.scenarios import check_end, check_invariants, spec
from tests.unit.jobs.simulated_farm import Scenario, SimulatedFarm, artifact_of
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.brain import JobBrain
from tunefarm_coordinator.jobs.options import JobOptions, Tuner
from tunefarm_coordinator.jobs.scouts import gist
from tunefarm_coordinator.jobs.state import JobState

TWENTY = tuple(replace(spec(at), template="conv2d") for at in range(20))
OPTIONS = JobOptions(16, early_stopping=1000, rounds_in_flight=8)
Answer = Callable[[int, int], ev.ItemMeasured | None]


class BrokenFarm(SimulatedFarm):
    """One whose devices answer as the test says: `breaks(round, index)`, None for a measurement."""

    breaks: Answer = staticmethod(lambda *_: None)
    compiles = True

    def _build(self, wanted: ins.Build) -> ev.BuildEnded:
        if self.compiles:
            return super()._build(wanted)
        failure = ev.Failure("BUILD_ERROR", f"nvcc died with exit code 1 on /tmp/{wanted.round}-{wanted.index}.cu")
        return ev.BuildEnded(wanted.round, wanted.index, None, failure, seconds=0.125)

    def _measure(self, number: int, index: int) -> ev.ItemMeasured:
        return self.breaks(number, index) or ev.ItemMeasured(number, index, samples=(1e-3,))


def broken(breaks: Answer, options: JobOptions = OPTIONS, tasks: tuple[ev.TaskSpec, ...] = TWENTY) -> BrokenFarm:
    scenario = Scenario(options, tasks, {task.workload: 1_000_000 for task in tasks}, seed=5, shuffled=False)
    farm = BrokenFarm(scenario, JobBrain(options))
    farm.breaks = breaks
    return farm


def fails(number: int, index: int, kind: str = "RUN_ERROR") -> ev.ItemMeasured:
    message = f"CUDA_ERROR {700 + index} in /tmp/c{number}/kernel.so at 0x7f{number:02x} of fused_conv2d_{index}_kernel"
    return ev.ItemMeasured(number, index, failure=ev.Failure(kind, message))


def run(farm: SimulatedFarm) -> None:
    while farm.pending:
        farm.step()
        check_invariants(farm)
    check_end(farm)


def state_of(farm: SimulatedFarm) -> JobState:
    """Asked for anew: a type checker takes it to stay what it was."""
    return farm.brain.state


def message_of(farm: SimulatedFarm) -> str:
    assert farm.brain.error is not None
    assert farm.brain.error[0] == "NO_VALID_TRIAL"
    return farm.brain.error[1]


def test_messages_that_differ_in_particulars_are_alike() -> None:
    first = ev.Failure("RUN_ERROR", "TVMError: bad launch of fused_conv2d_3 [1, 64, 56, 56] at 0x7fa0 in /tmp/a-1/k.so")
    second = ev.Failure("RUN_ERROR", "TVMError: bad launch of fused_dense_11 [8, 64] at 0x12 in /tmp/b.2/kernel.so")
    assert gist(first) == gist(second)
    assert gist(first) != gist(ev.Failure("LOAD_ERROR", first.message))
    assert gist(first) != gist(ev.Failure("RUN_ERROR", "TVMError: out of memory"))


@pytest.mark.parametrize(("tuner", "round_size"), [("autoscheduler", 2), ("autotvm", 8)])
@pytest.mark.parametrize("kind", ["LOAD_ERROR", "RUN_ERROR", "RUN_TIMEOUT", "WRONG_OUTPUT"])
def test_a_device_that_fails_everything_costs_a_job_at_most_two_rounds(
    tuner: Tuner, round_size: int, kind: str
) -> None:
    farm = broken(lambda number, index: fails(number, index, kind), replace(OPTIONS, tuner=tuner))
    run(farm)
    assert state_of(farm) is JobState.FAILED
    assert 0 < farm.brain.ledger.charged <= 2 * round_size
    assert farm.brain.ledger.budget == 320
    message = message_of(farm)
    assert message.startswith(f"stopped early: all {2 * (round_size + 1)} candidates of the first 2 rounds")
    assert "default schedules among them" in message
    assert f"{kind}: CUDA_ERROR 70" in message
    assert "tunefarm devices" in message


def test_a_compiler_that_fails_everything_costs_at_most_two_rounds() -> None:
    farm = broken(fails)
    farm.compiles = False
    run(farm)
    assert 0 < farm.brain.ledger.charged <= 4
    assert "`tunefarm doctor`" in message_of(farm)


def test_rounds_that_are_lost_with_devices_stop_the_job_as_well_and_cost_nothing() -> None:
    farm = broken(lambda number, index: fails(number, index, "DEVICE_LOST"))
    run(farm)
    assert farm.brain.ledger.charged == 0
    assert "DEVICE_LOST" in message_of(farm)


def test_a_stray_failure_of_another_kind_hides_nothing() -> None:
    def answer(number: int, index: int) -> ev.ItemMeasured:
        return fails(number, index, "RUN_TIMEOUT" if (number, index) == (1, 1) else "RUN_ERROR")

    farm = broken(answer)
    run(farm)
    assert farm.brain.ledger.charged <= 4
    assert "5 of them alike: RUN_ERROR" in message_of(farm)


def test_failures_of_many_kinds_are_no_reason_to_stop() -> None:
    kinds = ("LOAD_ERROR", "RUN_ERROR", "RUN_TIMEOUT", "WRONG_OUTPUT")
    farm = broken(
        lambda number, index: fails(number, index, kinds[(number + index) % 4]), replace(OPTIONS, max_trials=9)
    )
    run(farm)
    assert farm.brain.ledger.charged == 9
    assert "none of 9 trials could be measured" in message_of(farm)


def test_one_default_schedule_that_runs_is_enough_to_go_on() -> None:
    def answer(number: int, index: int) -> ev.ItemMeasured | None:
        return None if (number, index) == (2, 0) else fails(number, index)

    farm = broken(answer, replace(OPTIONS, max_trials=40))
    run(farm)
    assert farm.brain.ledger.charged == 40


def test_a_task_alone_has_both_rounds() -> None:
    farm = broken(fails, tasks=TWENTY[:1])
    run(farm)
    assert farm.brain.ledger.charged <= 2 + 8
    assert "first 2 rounds" in message_of(farm)


def ask(farm: SimulatedFarm, kind: type[ins.Instruction]) -> list[tuple[str, int, int]]:
    return sorted(ask for ask in farm.pending if ask[0] == kind.__name__)


def answer_all(farm: SimulatedFarm, kind: type[ins.Instruction]) -> None:
    for each in ask(farm, kind):
        event = farm.answer(each, farm.pending.pop(each))
        farm._account(each, event)
        farm.tell(event)
        check_invariants(farm)


def proposed(farm: SimulatedFarm) -> None:
    """As far as search comes before anything is built."""
    farm.step()
    assert len(ask(farm, ins.Propose)) == OPTIONS.rounds_in_flight, "search waits for nobody"
    answer_all(farm, ins.Propose)
    assert {number for _, number, _ in ask(farm, ins.Build)} == {1, 2}


def test_all_rounds_go_on_with_the_first_measurement() -> None:
    farm = broken(lambda *_: None)
    proposed(farm)
    answer_all(farm, ins.Build)
    first = ask(farm, ins.Measure)[0]
    farm.tell(farm.answer(first, farm.pending.pop(first)))
    assert {number for _, number, _ in ask(farm, ins.Build)} == set(range(3, OPTIONS.rounds_in_flight + 1))


def test_what_was_under_way_waits_for_the_scouts_of_a_job_that_goes_on() -> None:
    farm = broken(lambda *_: None)
    proposed(farm)
    answer_all(farm, ins.Build)
    first = ask(farm, ins.Measure)[0]
    farm.tell(farm.answer(first, farm.pending.pop(first)))
    farm.pending.clear()
    farm.tell(ev.Resumed("on"))
    check_invariants(farm)
    trials = {number for _, number, _ in ask(farm, ins.Build) if farm.brain.rounds[number].asked}
    assert trials == {1, 2}


def test_a_resumed_job_counts_anew_and_goes_on_where_the_device_works_again() -> None:
    farm = broken(fails)
    run(farm)
    charged = farm.brain.ledger.charged
    farm.tell(ev.Resumed("still broken"))
    run(farm)
    again = farm.brain.ledger.charged
    assert state_of(farm) is JobState.FAILED
    assert again <= charged + 4
    farm.tell(ev.Resumed("mended"))
    farm.breaks = lambda *_: None
    run(farm)
    assert state_of(farm) is JobState.SUCCEEDED
    assert farm.brain.ledger.charged == farm.brain.ledger.budget
    assert all(task.baseline_seconds is not None for task in farm.brain.tasks.values())


def test_the_journal_of_a_coordinator_that_let_no_round_wait_is_understood() -> None:
    farm = broken(lambda *_: None)
    proposed(farm)
    held = farm.brain.rounds[3]
    identity = held.items[0].identity
    assert farm.brain.handle(ev.BuildEnded(3, 0, artifact_of(identity), None, 0.1)) == []
    assert held.items[0].artifact is not None
    assert farm.brain.handle(ev.ItemMeasured(1, 0, samples=(1e-3,))) == []
