"""Fault points: only the process that a test asked for dies, and only where it was asked to."""

import signal
import subprocess
import sys

import pytest

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.fault_points import Fault, FaultPoint, FaultPoints

PASS_AND_TELL = """
import sys
from tunefarm_coordinator.fault_points import Fault, FaultPoint, FaultPoints
faults = FaultPoints(Fault.parse(sys.argv[1]) if sys.argv[1] else None)
for _ in range(3):
    for point in FaultPoint:
        faults.passing(point)
        print(point.value, flush=True)
"""


def passed(fault: str) -> tuple[int, list[str]]:
    """The exit code of a process that goes past every point three times, and what it got past."""
    command = [sys.executable, "-c", PASS_AND_TELL, fault]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.split()


def test_nothing_happens_without_a_fault() -> None:
    faults = FaultPoints()
    for point in FaultPoint:
        faults.passing(point)
    assert passed("") == (0, [point.value for point in FaultPoint] * 3)


def test_the_process_is_killed_at_the_passing_that_was_asked_for() -> None:
    points = [point.value for point in FaultPoint]
    assert passed(f"{points[2]}:2") == (-signal.SIGKILL, [*points, *points[:2]])


def test_faults_are_read() -> None:
    assert Fault.parse("mid_lease:3") == Fault(FaultPoint.MID_LEASE, 3)


@pytest.mark.parametrize("text", ["", "mid_lease", "mid_lease:", "mid_lease:0", "mid_lease:-1", "mid_leese:1"])
def test_a_misspelt_fault_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInput, match="between_journal_and_snapshot"):
        Fault.parse(text)
