"""A hundred trials for 29 tasks: every task is measured, and not one trial more is charged."""

from pathlib import Path
from typing import Any

import pytest

from tests.books import check_books
from tests.programs import Program, agent, assert_nothing_left, coordinator, document, tunefarm, until
from tests.tiny_models import save_convolutions

pytestmark = pytest.mark.slow

TASKS = 29


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_convolutions(tmp_path / "convolutions.onnx", TASKS)


def check_hundred(home: Path, result: dict[str, Any]) -> None:
    """All of a hundred trials charged, and some to each of the tasks."""
    assert result["state"] == "SUCCEEDED"
    assert len(result["tasks"]) == TASKS
    assert result["trials"]["budget"] == result["trials"]["charged"] == 100
    assert all(task["charged"] > 0 for task in result["tasks"])
    assert sum(task["charged"] for task in result["tasks"]) == 100
    check_books(home, result["job_id"], 100)


def test_a_hundred_trials(home: Path, model: Path) -> None:
    out = str(home / "package")
    done = tunefarm(home, "tune", str(model), "--max-trials", "100", "--seed", "1", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    check_hundred(home, document(done))
    assert_nothing_left(home)


def test_a_hundred_trials_while_builders_fail_and_the_agent_is_killed(home: Path, model: Path) -> None:
    with coordinator(home, compute_faults="crash_build=5") as (_, address), agent(home, address) as first:
        ask = ("tune", str(model), "--connect", address, "--max-trials", "100", "--seed", "1", "--json")
        until(lambda: "cpu" in tunefarm(home, "devices", "--connect", address, "--json").stdout, 60, "no device came")
        job = document(tunefarm(home, *ask, "--detach"))["job_id"]
        program = Program(home, "watch", "tunefarm", "job", "watch", job, "--connect", address)
        try:
            program.wait_for(r"[2-9]\d/100 trials", 120)
            first.kill()
            with agent(home, address):
                assert program.ended(200) == 0
        finally:
            program.stop()
        result = document(tunefarm(home, "job", "show", job, "--connect", address, "--json"))
    assert result["trials"]["failed"]["BUILD_ERROR"] > 0
    check_hundred(home, result)
    assert_nothing_left(home)


def test_ten_trials_are_allowed_and_the_plan_says_which_tasks_get_none(home: Path, model: Path) -> None:
    planned = document(tunefarm(home, "plan", str(model), "--max-trials", "10", "--json"))
    assert planned["budget"] == 10
    reached = {task["name"] for task in planned["tasks"] if task["first_round_trials"] == 1}
    missed = {task["name"] for task in planned["tasks"] if task["first_round_trials"] == 0}
    assert (len(reached), len(missed)) == (10, TASKS - 10)
    (note,) = (note for note in planned["notes"] if "does not reach" in note)
    assert all(name in note for name in missed)
    out = str(home / "package")
    done = tunefarm(home, "tune", str(model), "--max-trials", "10", "--seed", "1", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    result = document(done)
    assert result["trials"]["charged"] == 10
    assert {task["name"] for task in result["tasks"] if task["charged"]} == reached
    # A second plan knows how long it takes here.
    again = document(tunefarm(home, "plan", str(model), "--max-trials", "20", "--json"))
    assert again["measured_jobs"] == 1
    assert again["trials_per_second"] > 0
    assert again["estimated_seconds"] > 20 / again["trials_per_second"]
    assert_nothing_left(home)
