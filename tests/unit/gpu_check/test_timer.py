"""A timing process and who asks it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timer_protocol
from timing_run import Timer

COUNTING = """
import os
import timer_protocol

calls = {"quick": 0}

def quick():
    calls["quick"] += 1
    print("words of a library")
    os.write(1, b"and of one in C\\n")

def die():
    os._exit(3)

timer_protocol.serve(lambda: ({"quick": quick, "die": die}, {"quick": {"layout": "NHWC"}}))
"""
BROKEN = """
import timer_protocol

def opened():
    raise ValueError("no such device")

timer_protocol.serve(opened)
"""


@pytest.fixture
def timers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Timer]]:
    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(timer_protocol.__file__).parent))
    opened: list[Timer] = []
    for name, program in (("counting", COUNTING), ("broken", BROKEN)):
        path = tmp_path / f"{name}.py"
        path.write_text(program)
        opened.append(Timer(name, [sys.executable, str(path)], tmp_path / "timing.log"))
    yield opened
    for timer in opened:
        timer.close()


def test_answers_come_whatever_libraries_print(timers: list[Timer], tmp_path: Path) -> None:
    counting = timers[0]
    assert counting.ready() == {"quick": {"layout": "NHWC"}}
    assert 0 < counting.time("quick", 3) < 1
    assert 0 < counting.time("quick", 1) < 1
    assert (tmp_path / "timing.log").read_text().count("and of one in C") == 3 + 1 + 2 * timer_protocol.UNCOUNTED_CALLS


def test_a_process_that_dies_or_can_not_begin_says_why(timers: list[Timer]) -> None:
    counting, broken = timers
    counting.ready()
    with pytest.raises(RuntimeError, match=r"counting ended with 3: its words are in .*timing\.log"):
        counting.time("die", 1)
    with pytest.raises(RuntimeError, match="broken: ValueError: no such device"):
        broken.ready()


def test_every_call_is_counted_but_the_first() -> None:
    seen: list[int] = []
    assert len(timer_protocol.timed(lambda: seen.append(1), 4)) == 4
    assert len(seen) == 4 + timer_protocol.UNCOUNTED_CALLS
