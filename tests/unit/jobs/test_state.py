"""The table of a job's states."""

import itertools

import pytest

from tunefarm_coordinator.jobs.state import TRANSITIONS, JobState, check_transition


def test_terminal_states_are_the_contract_s() -> None:
    assert {state for state in JobState if state.terminal} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
    }


def test_a_job_may_fail_or_be_cancelled_from_every_state_that_is_not_terminal() -> None:
    for state in JobState:
        if not state.terminal:
            assert {JobState.FAILED, JobState.CANCELLED} <= TRANSITIONS[state]


@pytest.mark.parametrize(("old", "new"), list(itertools.product(JobState, JobState)))
def test_only_the_table_s_transitions_are_allowed(old: JobState, new: JobState) -> None:
    if new in TRANSITIONS[old]:
        check_transition(old, new)
    else:
        with pytest.raises(ValueError, match=f"from {old.value} to {new.value}"):
            check_transition(old, new)
