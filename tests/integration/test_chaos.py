"""What stands still, runs full, or jumps, in the middle of a job. Nothing that was measured is lost, nothing is charged
twice, and the job goes on; each case prints how long it takes until the next trial.

What is killed is in test_restarts.py (agent, coordinator, Ray's head, builder, searcher, compute child, measurer, all
at once) and test_resume.py (coordinator at every fault point and at ten random moments); what a candidate does to its
session (crash, loop, fork, daemonise, take all memory) in test_agent.py's crash table; agents of another protocol in
test_agent.py; cut links and stalled lines in test_network.py.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.programs import Program, agent, assert_nothing_left, coordinator, document, ours, tunefarm, until
from tests.running_jobs import check_ended_well, show

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

# A reader of `time.time` in a process of ours sees what it would see after somebody set the clock. Waiting is not
# touched: it goes by the monotonic clock, which nobody can set. gRPC is left out: it adds its timeouts to `time.time`
# and hands the sum to a core that reads the clock by itself, so it would see two clocks where there is one.
_JUMPING_CLOCK = """
import os, sys, time
_real, _offset = time.time, os.environ["JUMPING_CLOCK"]

def _jumped():
    if sys._getframe(1).f_globals.get("__name__", "").startswith("grpc"):
        return _real()
    with open(_offset) as file:
        return _real() + float(file.read() or 0)

time.time = _jumped
"""


class Running:
    """A job under way."""

    def __init__(self, home: Path, model: Path, address: str, trials: int) -> None:
        self.home = home
        self.address = address
        until(lambda: "cpu" in tunefarm(home, "devices", "--connect", address, "--json").stdout, 60, "no device came")
        options = ("--connect", address, "--trials-per-kernel", str(trials), "--detach", "--json")
        done = tunefarm(home, "tune", str(model), *options)
        assert done.returncode == 0, done.stderr
        self.job: str = document(done)["job_id"]
        until(lambda: self.charged() >= 4, 120, "the job measured nothing")

    def charged(self) -> int:
        return int(show(self.home, self.job, self.address)["trials"]["charged"])

    def goes_on(self, what: str, since: float, seconds: float = 90.0) -> None:
        """Waits for two trials more, so that one which was already under way does not count alone."""
        before = self.charged()
        until(lambda: self.charged() >= before + 2, seconds, lambda: f"nothing more was measured: {what}")
        print(f"{what}: the next trial after {time.monotonic() - since:.1f} s")

    def check(self) -> None:
        check_ended_well(self.home, self.job, self.address)


def named(home: Path, words: str) -> Callable[[], psutil.Process | None]:
    """Finds a process of ours whose command line has these words."""

    def find() -> psutil.Process | None:
        for process in ours(home):
            with contextlib.suppress(psutil.Error):
                if words in " ".join(process.cmdline()):
                    return process
        return None

    return find


def session_of(home: Path) -> Callable[[], psutil.Process | None]:
    """Finds the RPC session: the measurer's child, while there is one."""

    def find() -> psutil.Process | None:
        measurer = named(home, "tunefarm_agent.measurer")()
        with contextlib.suppress(psutil.Error):
            children = measurer.children() if measurer is not None else []
            return children[0] if children else None
        return None

    return find


def stopped(find: Callable[[], psutil.Process | None]) -> psutil.Process:
    """Stop a process in its tracks, as soon as there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        process = find()
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.suspend()
                return process
    raise AssertionError("there was no such process")


@pytest.mark.parametrize("victim", ["session", "measurer", "builder", "searcher"])
def test_a_process_that_stands_still_is_replaced(home: Path, model: Path, victim: str) -> None:
    """SIGSTOP, and never SIGCONT. Lost: nothing; a candidate that was being run or built then is charged a timeout."""
    with coordinator(home) as (_, address), agent(home, address):
        running = Running(home, model, address, trials=40)
        find = {
            "session": session_of(home),
            "measurer": named(home, "tunefarm_agent.measurer"),
            "builder": named(home, "ray::Builder"),
            "searcher": named(home, "ray::Searcher"),
        }[victim]
        began = time.monotonic()
        stopped(find)
        running.goes_on(f"a {victim} that stands still", began, 150)
        running.check()
    assert_nothing_left(home)


def test_programs_that_stand_still_and_go_on(home: Path, model: Path) -> None:
    """SIGSTOP of the agent, then of the coordinator, for longer than a session lives; then SIGCONT. Lost: nothing."""
    with coordinator(home) as (farm, address), agent(home, address) as board:
        running = Running(home, model, address, trials=60)
        for name, program in (("an agent", board), ("a coordinator", farm)):
            with frozen(program):
                time.sleep(15.0)
            running.goes_on(f"{name} that stood still for 15 s", time.monotonic())
        running.check()
    assert_nothing_left(home)


@contextlib.contextmanager
def frozen(program: Program) -> Iterator[None]:
    program.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        program.process.send_signal(signal.SIGCONT)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_at_the_agent(home: Path, model: Path, small_disk: Path) -> None:
    """Lost: nothing. The device is at fault, not its candidates; it works again when there is room."""
    state = small_disk / "state"
    with coordinator(home) as (_, address), agent(home, address, "--state-dir", str(state)):

        def told() -> str:
            return tunefarm(home, "devices", "--connect", address, "--json").stdout

        running = Running(home, model, address, trials=40)
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        until(lambda: "No space left" in told(), 60, lambda: f"nobody says so: {told()}")
        filler.unlink()
        running.goes_on("a disk that was full", time.monotonic(), 120)
        running.check()
        assert "DEVICE_LOST" not in show(home, running.job, address)["trials"]["failed"]
    assert_nothing_left(home)


def test_a_clock_that_jumps(home: Path, model: Path, tmp_path: Path) -> None:
    """An hour ahead, then two back, for coordinator and agent. Lost: nothing, and nobody is taken for dead."""
    shim, offset = tmp_path / "shim", tmp_path / "offset"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(_JUMPING_CLOCK)
    offset.write_text("0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(shim))
        patch.setenv("JUMPING_CLOCK", str(offset))
        with coordinator(home) as (farm, address), agent(home, address) as board:
            running = Running(home, model, address, trials=40)
            for name, seconds in (("an hour ahead", 3600), ("two hours back", -3600)):
                offset.write_text(str(seconds))
                running.goes_on(f"a clock that jumped {name}", time.monotonic())
            running.check()
            assert "stream ended" not in farm.text()
            assert "attached" in board.text()
            assert board.text().count("attached") == 1
    assert_nothing_left(home)
