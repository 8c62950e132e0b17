"""Jobs that go on: after a user's wish, and after `kill -9` of the coordinator at the worst moments.

Whatever happens, no trial is charged twice, the budget is spent to the trial, and the best is the store's.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.books import check_best, check_books, count_measured, events, length
from tests.programs import Program, agent, assert_nothing_left, coordinator, document, free_port, ours, tunefarm, until
from tunefarm import AutoschedulerOptions, Client
from tunefarm.job import Job, JobState

pytestmark = pytest.mark.slow

# Starting again is most of what these tests do: few processes, so that it takes seconds.
SMALL = ("--searchers", "1", "--builders", "1")
# No task stops early: the budget is spent to the trial.
PATIENT = 100_000


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def submit(address: str, model: Path, trials: int) -> str:
    """Starts a job that spends all of its trials; its id."""
    with Client(address) as client:
        until(lambda: bool(client.devices()), 60, "no device came")
        options = AutoschedulerOptions(trials_per_kernel=trials, early_stopping_threshold=PATIENT)
        return client.upload_model(model).optimize("host", options, seed=1).id


def status(address: str, job: str) -> Job:
    with Client(address) as client:
        return client.job(job).status()


def finished(address: str, job: str) -> Job:
    """The job at its end, which is a good one."""
    with Client(address) as client:
        workflow = client.job(job)
        assert workflow.wait(120, poll_interval=0.2), workflow.status()
        return workflow.result()


def check_spent(result: Job) -> None:
    """The budget, to the trial."""
    assert result.trials.charged == result.trials.budget
    assert result.trials.charged == result.trials.valid + sum(result.trials.failed.values())
    assert sum(task.charged for task in result.tasks) == result.trials.charged


def manifest_of(home: Path, job: str) -> Path:
    return home / "data" / "tunefarm" / "jobs" / job / "package" / "manifest.json"


# ---- by a user's wish


def test_cancelled_then_resumed_then_extended(home: Path, model: Path, tmp_path: Path) -> None:
    with coordinator(home, 0, *SMALL) as (_, address), agent(home, address), Client(address) as client:
        workflow = client.job(submit(address, model, 16))
        until(lambda: workflow.status().trials.charged >= 2, 90, "nothing was measured")
        workflow.cancel()
        assert workflow.wait(30, poll_interval=0.1)
        cancelled = workflow.status()
        assert cancelled.state is JobState.CANCELLED
        assert cancelled.trials.in_flight == 0
        assert not cancelled.has_package
        workflow.resume()
        first = finished(address, workflow.id)
        check_spent(first)
        assert first.trials.budget == 16 * len(first.tasks)
        assert first.trials.charged > cancelled.trials.charged
        check_books(home, workflow.id, first.trials.charged)

        longer = tunefarm(
            home, "job", "resume", workflow.id, "--connect", address, "--trials-per-kernel", "18", "--json"
        )
        extended = document(longer)
        assert longer.returncode == 0, longer.stderr
        assert extended["state"] == "SUCCEEDED"
        assert extended["trials"]["charged"] == extended["trials"]["budget"] == 18 * len(first.tasks)
        check_books(home, workflow.id, extended["trials"]["charged"])
        for task in extended["tasks"]:
            assert task["charged"] >= next(t.charged for t in first.tasks if t.workload == task["workload"])
        package = workflow.save_package(tmp_path / "package")
        assert (package / "run.py").is_file()
        # An extension that is given up leaves the package of before, and says so.
        before = manifest_of(home, workflow.id).read_bytes()
        workflow.resume(trials_per_kernel=50)
        assert not workflow.status().has_package
        workflow.cancel()
        assert workflow.wait(30, poll_interval=0.1)
        given_up = workflow.status()
        assert (given_up.state, given_up.has_package) == (JobState.CANCELLED, True)
        assert [note for note in given_up.notes if "the package is the one from before" in note]
        assert (workflow.save_package(tmp_path / "kept") / "manifest.json").read_bytes() == before
    check_best(home, workflow.id, manifest_of(home, workflow.id))
    assert_nothing_left(home)


def test_an_interrupted_command_is_gone_on_with(home: Path, model: Path) -> None:
    program = Program(
        home, "tune", "tunefarm", "tune", str(model), "--max-trials", "40", "--out", str(home / "package")
    )
    program.wait_for("tuning", 90)
    until(lambda: count_measured(home) >= 3, 60, program.text)
    program.kill()
    assert_nothing_left(home, 30)
    jobs = document(tunefarm(home, "jobs", "--json"))["jobs"]
    assert [job["state"] for job in jobs] == ["TUNING"]
    job = jobs[0]["job_id"]
    spent = sum(event["kind"] == "item_measured" for event in events(home, job))
    assert spent > 0
    resumed = tunefarm(home, "job", "resume", job, "--json")
    result = document(resumed)
    assert resumed.returncode == 0, resumed.stderr
    assert f"job {job} was interrupted" in resumed.stderr
    assert result["state"] == "SUCCEEDED"
    assert result["trials"]["charged"] == result["trials"]["budget"] == 40
    check_books(home, job, 40)
    check_best(home, job, manifest_of(home, job))
    assert_nothing_left(home)


# ---- kill -9


@pytest.mark.timeout(600)
def test_every_fault_point_in_one_job(home: Path, model: Path) -> None:
    """The coordinator dies at each named point in turn, and is started again: one job, all the way."""
    port = free_port()
    deaths = (
        "between_journal_and_snapshot:1",
        "before_durable_write:6",
        "after_durable_write:6",
        "mid_lease:1",
        "during_finals:1",
        "during_packaging:1",
        "between_journal_and_snapshot:2",
    )
    with agent(home, f"127.0.0.1:{port}"):
        job, charged = "", 0
        for death in deaths:
            with coordinator(home, port, *SMALL, fault_point=death) as (doomed, address):
                job = job or submit(address, model, 6)
                assert doomed.ended(120) == -9, death
                # What was durable before a death comes again, and is taken for what it is.
                assert "was not recorded" not in doomed.text(), doomed.text()
        with coordinator(home, port, *SMALL) as (_, address):
            result = finished(address, job)
            check_spent(result)
            charged = result.trials.charged
    check_books(home, job, charged)
    check_best(home, job, manifest_of(home, job))
    assert_nothing_left(home)


def test_the_trainer_and_the_coordinator_die_in_mid_refit(home: Path, model: Path) -> None:
    trials = 60  # times two tasks: the first fit comes after 40, and the trainer dies in the second
    with coordinator(home, 0, *SMALL, compute_faults="hang_refit=1") as (doomed, address), agent(home, address):
        port = port_of(address)
        job = submit(address, model, trials)
        looks: Counter[int] = Counter()
        until(lambda: in_a_fit(home, looks), 120, lambda: f"no fit hangs: {doomed.text()}")
        seen = trainers(home)
        doomed.kill()
        with coordinator(home, port, *SMALL, compute_faults="exit_refit=2") as (_, again):
            until(lambda: more_trainers(home, seen) > 2, 120, "the trainer was not started again")
            result = finished(again, job)
            check_spent(result)
    check_books(home, job, result.trials.charged)
    check_best(home, job, manifest_of(home, job))
    assert_nothing_left(home)


def trainers(home: Path, doing: str = "") -> set[int]:
    """Process ids of the cost model's trainers; `doing`: those in a call of this method."""
    found = set()
    for process in ours(home):
        with contextlib.suppress(psutil.Error):
            if f"ray::Trainer{doing}" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def more_trainers(home: Path, seen: set[int]) -> int:
    """How many trainers there have been, with those that run now."""
    seen |= trainers(home)
    return len(seen)


def in_a_fit(home: Path, looks: Counter[int]) -> bool:
    """Whether a trainer is in one call look after look: a fit of so few samples takes no second, unless it hangs."""
    found = trainers(home, ".learn")
    for pid in set(looks) - found:
        del looks[pid]
    looks.update(found)
    return max(looks.values(), default=0) >= 20


def moments(seed: int, count: int) -> Iterator[int]:
    """After how many events of the journal the coordinator dies."""
    chance = random.Random(seed)
    return (chance.randint(1, 14) for _ in range(count))


def kill_after(doomed: Program, home: Path, job: str, more: int) -> None:
    """The coordinator dies once its journal has so many more events."""
    wanted = length(home, job) + more
    until(lambda: length(home, job) >= wanted, 90, doomed.text)
    doomed.kill()


@pytest.mark.timeout(600)
def test_ten_random_moments_in_one_job(home: Path, model: Path) -> None:
    port = free_port()
    kills: list[int] = []
    with agent(home, f"127.0.0.1:{port}"):
        job, budget = "", 0
        for more in moments(seed=20261125, count=10):
            with coordinator(home, port, *SMALL) as (doomed, address):
                job = job or submit(address, model, 30)
                kill_after(doomed, home, job, more)
            kills.append(length(home, job))
            assert not any(event["kind"] in ("packaged", "benchmarked") for event in events(home, job))
        with coordinator(home, port, *SMALL) as (_, address):
            result = finished(address, job)
            check_spent(result)
            budget = result.trials.budget
    assert len(kills) == 10
    assert sorted(set(kills)) == kills
    check_books(home, job, budget)
    check_best(home, job, manifest_of(home, job))
    assert_nothing_left(home)
