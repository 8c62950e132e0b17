"""What is killed in mid-job and started again: the job goes on, and the budget holds."""

import shutil
from pathlib import Path

import pytest

from tests.programs import Program, agent, assert_nothing_left, coordinator, document, ours, tunefarm, until
from tests.running_jobs import check_ended_well, show
from tests.tiny_models import save_tiny_cnn

TRIALS_PER_KERNEL = 12


def submit(home: Path, model: Path, address: str) -> str:
    until(lambda: "cpu" in tunefarm(home, "devices", "--connect", address, "--json").stdout, 60, "no device came")
    arguments = ("--connect", address, "--trials-per-kernel", str(TRIALS_PER_KERNEL), "--detach", "--json")
    done = tunefarm(home, "tune", str(model), *arguments)
    assert done.returncode == 0, done.stderr
    job: str = document(done)["job_id"]
    return job


def wait_for_trials(home: Path, job: str, address: str, count: int) -> None:
    until(lambda: show(home, job, address)["trials"]["charged"] >= count, 120, "the job measured nothing")


def test_coordinator_killed(home: Path, tmp_path: Path) -> None:
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    with coordinator(home) as (first, address):
        port = int(address.rpartition(":")[2])
        with agent(home, address):
            job = submit(home, model, address)
            wait_for_trials(home, job, address, 6)
            before = show(home, job, address)["trials"]["charged"]
            first.kill()
            with coordinator(home, port) as (_, again):
                assert show(home, job, again)["trials"]["charged"] >= before
                check_ended_well(home, job, again)
    assert_nothing_left(home)


@pytest.mark.slow
def test_agent_killed(home: Path, tmp_path: Path) -> None:
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    with coordinator(home) as (_, address), agent(home, address) as first:
        job = submit(home, model, address)
        wait_for_trials(home, job, address, 6)
        first.kill()
        with agent(home, address):
            check_ended_well(home, job, address)
    assert_nothing_left(home)


@pytest.mark.slow
def test_ray_head_killed(home: Path, tmp_path: Path) -> None:
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    with coordinator(home) as (_, address), agent(home, address):
        job = submit(home, model, address)
        wait_for_trials(home, job, address, 6)
        heads = [process for process in ours(home) if "gcs_server" in " ".join(process.cmdline())]
        assert len(heads) == 1
        heads[0].kill()
        check_ended_well(home, job, address)
    assert_nothing_left(home)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["ray::Builder", "ray::Searcher", "tunefarm_coordinator.compute", "measurer"])
def test_worker_killed(home: Path, tmp_path: Path, victim: str) -> None:
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    with coordinator(home) as (_, address), agent(home, address):
        job = submit(home, model, address)
        wait_for_trials(home, job, address, 4)
        killed = [process for process in ours(home) if victim in " ".join(process.cmdline())]
        assert killed, [process.cmdline() for process in ours(home)]
        killed[0].kill()
        check_ended_well(home, job, address)
    assert_nothing_left(home)


@pytest.mark.slow
def test_all_killed_at_once(home: Path, tmp_path: Path) -> None:
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    with coordinator(home) as (first, address):
        port = int(address.rpartition(":")[2])
        with agent(home, address) as board:
            job = submit(home, model, address)
            wait_for_trials(home, job, address, 6)
            board.kill()
            first.kill()
        with coordinator(home, port) as (_, again), agent(home, again):
            check_ended_well(home, job, again)
    assert_nothing_left(home)


def test_a_program_that_dies_at_start_says_why(home: Path) -> None:
    (home / "data" / "tunefarm").mkdir(parents=True)
    (home / "data" / "tunefarm" / "tunefarm.db").write_bytes(b"this is no database at all" * 100)
    program = Program(home, "coordinator", "tunefarm", "serve", "--listen", "127.0.0.1:0")
    assert program.process.wait(60) == 2
    assert "error:" in program.text()
    assert_nothing_left(home)


@pytest.mark.slow
def test_a_job_that_cannot_go_on_fails_and_keeps_nobody_else(home: Path, tmp_path: Path) -> None:
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    with coordinator(home) as (first, address):
        port = int(address.rpartition(":")[2])
        with agent(home, address):
            job = submit(home, model, address)
            first.kill()
            shutil.rmtree(home / "data" / "tunefarm" / "models")
            with coordinator(home, port) as (_, again):
                result = show(home, job, again)
                assert result["state"] == "FAILED"
                assert "no such file" in result["error"]["message"].lower()
                check_ended_well(home, submit(home, model, again), again)
    assert_nothing_left(home)
