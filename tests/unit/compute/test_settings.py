import pytest

from tunefarm_coordinator.compute.settings import FaultPlan, candidate_digest


def test_no_text_is_no_fault() -> None:
    assert FaultPlan.parse("") == FaultPlan()


def test_faults_are_read() -> None:
    plan = FaultPlan.parse("crash_build=3,exit_search=2")
    assert plan == FaultPlan(crash_build=3, exit_search=2)


@pytest.mark.parametrize("text", ["crash_bild=1", "crash_build", "crash_build=x"])
def test_a_misspelt_fault_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"fault|invalid literal"):
        FaultPlan.parse(text)


def test_digests_are_the_same_in_every_process() -> None:
    assert candidate_digest("trace") == 0xEAFE895E
