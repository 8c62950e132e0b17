"""ResumeJob against the real service, and what becomes of jobs that a coordinator left interrupted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from tests.tiny_models import save_tiny_cnn
from tests.tuning_service import TuningService
from tunefarm import Client
from tunefarm.cli import main
from tunefarm.errors import Conflict, InvalidInput, NotFound, TunefarmError
from tunefarm.job import JobState
from tunefarm.workflow import Workflow
from tunefarm_proto.v1 import tuning_pb2, tuning_pb2_grpc


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_cnn(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def service(folder: Path) -> Iterator[TuningService]:
    with TuningService(folder) as service:
        yield service


@pytest.fixture
def client(service: TuningService) -> Iterator[Client]:
    with Client(service.address) as client:
        yield client


@pytest.fixture
def stub(service: TuningService) -> Iterator[Any]:
    with grpc.insecure_channel(service.address) as channel:
        yield cast(Any, tuning_pb2_grpc).TuningServiceStub(channel)


def _resume(stub: Any, job_id: str, key: str = "key", **totals: Any) -> tuning_pb2.Job:
    request = tuning_pb2.ResumeJobRequest(idempotency_key=key, job_id=job_id, **totals)
    return cast(tuning_pb2.Job, stub.ResumeJob(request, timeout=10))


def _refused(stub: Any, job_id: str, key: str = "key", **totals: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        _resume(stub, job_id, key, **totals)
    error = cast(Any, caught.value)
    return error.code(), error.details()


def _cancelled(client: Client, model: Path, **parameters: Any) -> Workflow:
    workflow = client.upload_model(model).optimize(**parameters)
    workflow.cancel()
    assert workflow.wait(10, poll_interval=0.01)
    return workflow


def test_a_cancelled_job_goes_on(client: Client, model: Path) -> None:
    workflow = _cancelled(client, model)
    job = workflow.resume(trials_per_kernel=7, max_trials=9, max_seconds=60)
    assert job.state is JobState.PREPARING
    assert job.ended is None
    assert workflow.status().state is JobState.PREPARING
    assert [listed.job_id for listed in client.jobs(states=[JobState.PREPARING])] == [workflow.id]


def test_a_failed_job_goes_on_and_its_totals_are_shown(
    service: TuningService, client: Client, stub: Any, model: Path
) -> None:
    service.compute.holds = False
    workflow = client.upload_model(model).optimize(trials_per_kernel=3)
    assert workflow.wait(10, poll_interval=0.01)
    failed = workflow.status()
    assert failed.error is not None
    assert "no searcher comes up" in failed.error.message
    service.compute.holds = True
    assert workflow.resume(trials_per_kernel=7, max_trials=9).error is None
    spec = stub.GetJob(tuning_pb2.GetJobRequest(job_id=workflow.id), timeout=10).spec
    assert (spec.autoscheduler.trials_per_kernel, spec.max_trials) == (7, 9)


def test_the_same_key_again_changes_nothing(client: Client, stub: Any, model: Path) -> None:
    workflow = _cancelled(client, model)
    first = _resume(stub, workflow.id, max_trials=9)
    again = _resume(stub, workflow.id, max_trials=9)
    assert (again.job_id, again.sequence) == (first.job_id, first.sequence)
    assert _refused(stub, workflow.id, max_trials=10)[0] is grpc.StatusCode.ALREADY_EXISTS
    workflow.cancel()
    assert workflow.wait(10, poll_interval=0.01)
    # The wish was granted then: it does not raise the job from its end a second time.
    assert _resume(stub, workflow.id, max_trials=9).state == tuning_pb2.JOB_STATE_CANCELLED
    assert _refused(stub, workflow.id, max_trials=10)[0] is grpc.StatusCode.ALREADY_EXISTS
    assert _resume(stub, workflow.id, "another key", max_trials=10).state == tuning_pb2.JOB_STATE_PREPARING


@pytest.mark.parametrize(
    ("totals", "told"),
    [
        ({"kernel_trials": 5}, "kernel_trials"),
        ({"trials_per_kernel": 0}, "trials_per_kernel"),
        ({"max_trials": 0}, "max_trials"),
        ({"max_seconds": 0.0}, "max_seconds"),
        ({"max_seconds": float("nan")}, "max_seconds"),
    ],
)
def test_totals_that_make_no_sense(client: Client, stub: Any, model: Path, totals: dict[str, Any], told: str) -> None:
    workflow = _cancelled(client, model)
    code, details = _refused(stub, workflow.id, **totals)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert told in details
    assert workflow.state is JobState.CANCELLED


def test_the_other_tuners_total_is_refused_by_name(client: Client, stub: Any, model: Path) -> None:
    workflow = _cancelled(client, model, kernel_trials=5)
    code, details = _refused(stub, workflow.id, trials_per_kernel=5)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "trials_per_kernel" in details
    with pytest.raises(InvalidInput, match="drop the other's"):
        workflow.resume(trials_per_kernel=5, kernel_trials=5)


def test_a_running_job_and_an_unknown_one(client: Client, stub: Any, model: Path) -> None:
    workflow = client.upload_model(model).optimize()
    code, details = _refused(stub, workflow.id)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "is running: cancel it first, or wait" in details
    assert _refused(stub, workflow.id, "")[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert _refused(stub, "job-77")[0] is grpc.StatusCode.NOT_FOUND
    with pytest.raises(Conflict, match="is running"):
        workflow.resume()


def test_no_device_serves_the_target_any_more(service: TuningService, client: Client, stub: Any, model: Path) -> None:
    workflow = _cancelled(client, model)
    service.unplug()
    code, details = _refused(stub, workflow.id)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "no device serves" in details
    assert "board" in details
    assert workflow.state is JobState.CANCELLED


# ---- interrupted jobs


@pytest.fixture
def interrupted(folder: Path, model: Path) -> Iterator[tuple[TuningService, str]]:
    """A coordinator that leaves interrupted jobs alone, and the id of the one that it found."""
    with TuningService(folder) as earlier, Client(earlier.address) as client:
        job_id = client.upload_model(model).optimize(max_trials=9).id
    with TuningService(folder, leave=True) as service:
        assert service.interrupted == [job_id]
        yield service, job_id


def test_an_interrupted_job_is_shown_and_waits(interrupted: tuple[TuningService, str]) -> None:
    service, job_id = interrupted
    with Client(service.address) as client:
        job = client.job(job_id).status()
        assert job.state is JobState.PREPARING
        assert f"interrupted: `tunefarm job resume {job_id}` goes on with it" in job.notes
        assert [listed.job_id for listed in client.jobs()] == [job_id]
        with pytest.raises(Conflict, match=f"tunefarm job resume {job_id}"):
            next(client.job(job_id).watch())


def test_an_interrupted_job_goes_on(interrupted: tuple[TuningService, str]) -> None:
    service, job_id = interrupted
    with Client(service.address) as client:
        workflow = client.job(job_id)
        assert workflow.resume().notes == ()
        watch = workflow.watch()
        assert next(watch).state is JobState.PREPARING
        workflow.cancel()
        assert [job.state for job in watch][-1] is JobState.CANCELLED


def test_an_interrupted_job_can_be_cancelled(interrupted: tuple[TuningService, str], folder: Path) -> None:
    service, job_id = interrupted
    with Client(service.address) as client:
        assert client.job(job_id).cancel("enough").state is JobState.CANCELLED
        assert client.job(job_id).cancel().state is JobState.CANCELLED
        with pytest.raises(NotFound):
            client.job("job-77").cancel()
    service.stop()
    # Written down for good: the next coordinator finds nothing to go on with.
    with TuningService(folder, leave=True) as later, Client(later.address) as client:
        assert later.interrupted == []
        assert client.job(job_id).status().notes == ("cancelled: enough",)


def test_the_command_line_says_what_to_type(
    interrupted: tuple[TuningService, str], capsys: pytest.CaptureFixture[str]
) -> None:
    service, job_id = interrupted
    connect = ["--connect", service.address]
    assert main(["job", "watch", job_id, *connect]) == 2
    assert f"tunefarm job resume {job_id}" in capsys.readouterr().err
    assert main(["job", "show", job_id, *connect]) == 0
    assert f"tunefarm job resume {job_id}" in capsys.readouterr().out
    assert main(["job", "resume", job_id, *connect, "--detach"]) == 0
    assert f"tunefarm job watch {job_id} --connect" in capsys.readouterr().out
    assert main(["job", "resume", job_id, *connect, "--detach"]) == 2
    assert "is running" in capsys.readouterr().err


def test_without_being_told_to_leave_them_jobs_go_on(folder: Path, model: Path) -> None:
    with TuningService(folder) as earlier, Client(earlier.address) as client:
        job_id = client.upload_model(model).optimize().id
    with TuningService(folder) as service, Client(service.address) as client:
        assert service.interrupted == []
        assert next(client.job(job_id).watch()).notes == ()


@pytest.mark.parametrize(
    "damage",
    ["not JSON", '{"kind": "of another version"}', '{"kind": "prepared"}'],
    ids=["no JSON", "unknown kind", "fields missing"],
)
def test_a_job_whose_journal_is_damaged_keeps_no_other_from_going_on(folder: Path, model: Path, damage: str) -> None:
    """It ends, and says why; the coordinator starts, and the job beside it goes on."""
    with TuningService(folder) as earlier, Client(earlier.address) as client:
        variant = client.upload_model(model)
        bad, good = (variant.optimize(max_trials=trials) for trials in (9, 10))
    with closing(sqlite3.connect(folder / "store.db")) as store, store:
        store.execute("DELETE FROM events WHERE job_id = ?", (bad.id,))
        store.execute("INSERT INTO events VALUES (?, 1, 0.0, 'prepared', ?)", (bad.id, damage))
    with TuningService(folder) as service, Client(service.address) as client:
        status = client.job(bad.id).status()
        assert status.state is JobState.FAILED
        assert status.error is not None
        assert "can't be read" in status.error.message
        assert not next(client.job(good.id).watch()).state.terminal
        with pytest.raises(TunefarmError, match="can't be read"):
            client.job(bad.id).resume(trials_per_kernel=2000)


def test_a_coordinator_that_stops_under_a_watch_leaves_no_task_behind(
    service: TuningService, client: Client, model: Path
) -> None:
    watch = client.upload_model(model).optimize().watch()
    assert not next(watch).state.terminal
    service.stop()
    assert service.left == set()
