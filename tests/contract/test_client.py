"""The SDK against a fake coordinator over real gRPC, and against processes that it starts itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.tuning_stand_in import JOB_ID, FakeCoordinator, failing, file_chunks
from tunefarm import AutoschedulerOptions, Client
from tunefarm.channel import CONNECT_SECONDS
from tunefarm.embedded import EmbeddedSettings
from tunefarm.errors import (
    BrokenTransfer,
    ClientClosed,
    Conflict,
    Denied,
    EmbeddedFailed,
    Internal,
    InvalidInput,
    JobCancelled,
    JobFailed,
    JobNotFinished,
    NoDevice,
    NoPackage,
    NotFound,
    OutOfSpace,
    StoreError,
    TunefarmError,
    Unavailable,
    Unreachable,
)
from tunefarm.job import JobState, Progress

STAND_IN = Path(__file__).parents[1] / "tuning_stand_in.py"


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    coordinator = FakeCoordinator()
    yield coordinator
    coordinator.stop()


@pytest.fixture
def client(fake: FakeCoordinator) -> Iterator[Client]:
    with Client(fake.start(), token="secret") as client:
        yield client


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _little_model(tmp_path / "little.onnx")


def _little_model(path: Path) -> Path:
    """A file that has an ONNX model's outermost fields (ir_version, an empty graph) and 3 MB that it skips."""
    unknown = b"\xfa\x3f" + b"\x80\x80\xc0\x01" + b"\0" * (3 << 20)  # field 1023, length-delimited
    path.write_bytes(b"\x08\x09" + b"\x3a\x00" + unknown)
    return path


# ---- the documented way


def test_a_model_in_a_package_out(client: Client, fake: FakeCoordinator, model: Path, tmp_path: Path) -> None:
    variant = client.upload_model(model, input_shapes={"x": [4, 3]}, project="vision")
    assert fake.uploaded["little.onnx"] == model.read_bytes()
    assert [(spec.name, spec.shape) for spec in variant.inputs] == [("x", (-1, 3))]

    workflow = variant.octomize(
        platform="host", tuning_options=AutoschedulerOptions(trials_per_kernel=3, early_stopping_threshold=1)
    )
    seen: list[Progress] = []
    assert workflow.wait(poll_interval=0.01, poll_callback=seen.append) is True
    assert [progress.state for progress in seen][-3:] == ["VERIFYING", "BENCHMARKING", "SUCCEEDED"]
    assert [progress.fraction for progress in seen][2:] == [0.5, 1, 1, 1, 1]

    assert workflow.id == JOB_ID
    assert workflow.done()
    assert workflow.state is JobState.SUCCEEDED
    metrics = workflow.metrics()
    assert (metrics.latency_median_ms, metrics.untuned_latency_median_ms, metrics.speedup) == (2.0, 9.0, 4.5)
    assert (metrics.latency_mean_ms, metrics.untuned_latency_mean_ms) == (2.5, None)  # not sent: not guessed
    folder = workflow.save_package(tmp_path / "out")
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == fake.package


def test_what_was_asked_is_what_is_sent(client: Client, fake: FakeCoordinator, model: Path) -> None:
    variant = client.upload_model(model, {"x": (4, 3)}, project="vision", name="eye")
    variant.optimize({"kind": "llvm"}, trials_per_kernel=3, max_trials=50, max_seconds=60.0, seed=0, labels={"a": "b"})
    variant.octomize()
    first, second = (request.spec for request in fake.submitted)
    assert (fake.headers[0].name, fake.headers[0].project) == ("eye", "vision")
    assert (first.model_id, first.targets[0].text, first.project, first.name) == (
        "model-1",
        '{"kind": "llvm"}',
        "vision",
        "eye",
    )
    assert (first.autoscheduler.trials_per_kernel, first.max_trials, first.seed) == (3, 50, 0)
    assert dict(first.labels) == {"a": "b"}
    assert list(first.shape_sets[0].inputs["x"].dims) == [4, 3]
    assert second.WhichOneof("tuning") is None
    assert not second.HasField("max_trials")
    keys = {request.idempotency_key for request in fake.submitted}
    assert len(keys) == 2
    assert "" not in keys


def test_external_data_travels_with_the_model(client: Client, fake: FakeCoordinator, tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.arange(600, dtype=np.float32).reshape(300, 2), "w")
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", (1, 300)), ("y", (1, 2)))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    path = tmp_path / "m.onnx"
    onnx.save_model(helper.make_model(graph), path, save_as_external_data=True, location="w.data", size_threshold=0)
    client.upload_model(path)
    assert fake.uploaded == {"m.onnx": path.read_bytes(), "w.data": (tmp_path / "w.data").read_bytes()}


def test_plan_jobs_and_devices(client: Client, fake: FakeCoordinator, model: Path) -> None:
    planned = client.upload_model(model).plan(kernel_trials=4)
    assert (planned.budget, planned.layout, len(planned.tasks)) == (8, "NHWC", 3)
    fake.job_count = 5  # three pages
    assert [job.job_id for job in client.jobs()] == [f"job-{i}" for i in range(5)]
    (device,) = client.devices()
    assert (device.name, device.state, device.labels) == ("a [cpu]", "IDLE", {"rack": "1"})
    with pytest.raises(NotFound, match="job-9"):
        client.job("job-9")


def test_every_unary_call_has_a_deadline_and_every_call_the_token(
    client: Client, fake: FakeCoordinator, model: Path
) -> None:
    variant = client.upload_model(model)
    variant.plan()
    workflow = variant.optimize()
    client.jobs()
    client.devices()
    workflow.status()
    workflow.cancel()
    assert set(fake.deadlines) >= {"UploadModel", "PlanJob", "SubmitJob", "ListJobs", "GetJob", "CancelJob"}
    assert all(0 < (left or 0) < 1000 for left in fake.deadlines.values())
    assert fake.tokens == {"Bearer secret"}


def test_upload_tells_its_progress(client: Client, model: Path) -> None:
    seen: list[tuple[int, int]] = []
    client.upload_model(model, progress=lambda done, total: seen.append((done, total)))
    size = model.stat().st_size
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) == 4


# ---- what goes wrong


@pytest.mark.parametrize("rpc", ["UploadModel", "SubmitJob", "GetJob", "ListDevices", "FetchPackage"])
def test_a_coordinator_that_is_away_for_a_moment_is_asked_again(
    client: Client, fake: FakeCoordinator, model: Path, tmp_path: Path, rpc: str
) -> None:
    fake.fail_once.add(rpc)
    workflow = client.upload_model(model).optimize()
    fake.script = fake.script[-1:]
    workflow.save_package(tmp_path / "out")
    client.devices()
    assert not fake.fail_once
    assert len({request.idempotency_key for request in fake.submitted}) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInput),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, Conflict),
        (grpc.StatusCode.FAILED_PRECONDITION, NoDevice),
        (grpc.StatusCode.UNAUTHENTICATED, Denied),
        (grpc.StatusCode.PERMISSION_DENIED, Denied),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OutOfSpace),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable),
        (grpc.StatusCode.INTERNAL, Internal),
        (grpc.StatusCode.UNIMPLEMENTED, Internal),
    ],
)
def test_status_codes_become_errors_with_the_coordinators_words(
    client: Client, fake: FakeCoordinator, model: Path, code: grpc.StatusCode, error: type[TunefarmError]
) -> None:
    variant = client.upload_model(model)
    fake.errors["SubmitJob"] = (code, "the words")
    with pytest.raises(error, match="the words"):
        variant.optimize()
    assert len(fake.submitted) == 1


def test_bad_options_send_nothing(client: Client, fake: FakeCoordinator, model: Path) -> None:
    variant = client.upload_model(model)
    with pytest.raises(InvalidInput, match="drop"):
        variant.optimize(tuning_options=AutoschedulerOptions(), kernel_trials=3)
    with pytest.raises(TypeError, match="trials"):
        variant.optimize(trials=3)  # type: ignore[call-arg]
    assert fake.submitted == []


def test_a_failed_job_raises_from_its_result_only(client: Client, fake: FakeCoordinator, tmp_path: Path) -> None:
    fake.script = failing("NO_VALID_TRIAL", "every candidate failed: RUN_ERROR")
    workflow = client.job(JOB_ID)
    assert workflow.wait(poll_interval=0.01) is True
    for call in (workflow.result, workflow.metrics, lambda: workflow.save_package(tmp_path / "out")):
        with pytest.raises(JobFailed, match="every candidate failed") as caught:
            call()
        assert caught.value.kind == "NO_VALID_TRIAL"
    assert not (tmp_path / "out").exists()


def test_waiting_ends_with_its_timeout_and_cancelling_ends_the_job(client: Client, fake: FakeCoordinator) -> None:
    fake.hold_at = 2
    workflow = client.job(JOB_ID)
    assert workflow.wait(timeout=0.1, poll_interval=0.01) is False
    with pytest.raises(JobNotFinished, match="TUNING"):
        workflow.result()
    assert workflow.cancel().state is JobState.CANCELLED
    assert workflow.wait(poll_interval=0.01) is True
    with pytest.raises(JobCancelled):
        workflow.result()


def test_a_watch_survives_broken_streams_without_repeating_itself(client: Client, fake: FakeCoordinator) -> None:
    fake.break_watch_after = [2, 0, 3]
    states = [job.state for job in client.job(JOB_ID).watch()]
    assert states == ["QUEUED", "PREPARING", "TUNING", "TUNING", "VERIFYING", "BENCHMARKING", "SUCCEEDED"]
    assert fake.watched_after[0] == 0
    assert set(fake.watched_after) == {0, 2, 5}


def test_a_watch_survives_a_coordinator_that_is_started_again(fake: FakeCoordinator) -> None:
    fake.hold_at = 3
    address = fake.start()
    with Client(address) as client:
        watch = client.job(JOB_ID).watch()
        assert [next(watch).state for _ in range(4)][-1] == "TUNING"
        fake.stop()
        fake.hold_at = None
        fake.start(address)
        assert [job.state for job in watch] == ["VERIFYING", "BENCHMARKING", "SUCCEEDED"]


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil"])
def test_a_package_never_leaves_its_folder(client: Client, fake: FakeCoordinator, tmp_path: Path, path: str) -> None:
    fake.script = fake.script[-1:]
    fake.package_chunks = lambda: file_chunks(path, b"evil")
    with pytest.raises(BrokenTransfer, match="leaves its folder"):
        client.job(JOB_ID).save_package(tmp_path / "out")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_job_without_a_package_says_so(client: Client, fake: FakeCoordinator, tmp_path: Path) -> None:
    fake.script = fake.script[-1:]
    fake.errors["FetchPackage"] = (grpc.StatusCode.FAILED_PRECONDITION, "it was removed")
    with pytest.raises(NoPackage, match="it was removed"):
        client.job(JOB_ID).save_package(tmp_path / "out")


def test_nobody_there_is_said_within_five_seconds_with_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        with Client(address) as client, pytest.raises(Unreachable, match=address):
            client.jobs()
        assert time.monotonic() - started < 5


def test_somebody_who_never_answers_is_given_up_within_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONNECT_SECONDS < 5
    monkeypatch.setattr("tunefarm.channel.CONNECT_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with Client(address) as client, pytest.raises(Unreachable, match=address):
            client.jobs()
        assert time.monotonic() - started < 5


def test_plain_text_to_another_machine_needs_consent() -> None:
    with pytest.raises(InvalidInput, match="--insecure"):
        Client("192.0.2.1:7700")
    Client("192.0.2.1:7700", insecure=True).close()


# ---- embedded


def _settings(tmp_path: Path, *coordinator: str, agent: tuple[str, ...] = ()) -> EmbeddedSettings:
    pids = ("--pids", str(tmp_path / "pids"))
    return EmbeddedSettings(
        data_dir=tmp_path / "data",
        coordinator_command=(sys.executable, str(STAND_IN), *pids, *coordinator),
        agent_command=(sys.executable, str(STAND_IN), *pids, *agent),
        check_extras=False,
    )


def _pids(tmp_path: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted((tmp_path / "pids").glob("*.pid"))]


def _gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN.parents[1]), prepend=os.pathsep)


@pytest.mark.usefixtures("environment")
def test_embedded_starts_both_programs_lazily_and_stops_them(tmp_path: Path, model: Path) -> None:
    notices: list[str] = []
    with Client(embedded=_settings(tmp_path), notice=notices.append) as client:
        assert not (tmp_path / "pids").exists()
        workflow = client.upload_model(model).optimize()
        assert workflow.wait(poll_interval=0.01)
        assert notices == ["starting the coordinator", "starting the device agent"]
        assert _within(30, lambda: len(_pids(tmp_path)) == 2)
        pids = _pids(tmp_path)
    assert all(_gone(pid) for pid in pids)
    assert notices[2:] == ["stopping what was started"]
    assert len(list((tmp_path / "data" / "logs").glob("*.log"))) == 2


@pytest.mark.usefixtures("environment")
def test_a_closed_client_starts_nothing_and_says_so(tmp_path: Path) -> None:
    client = Client(embedded=_settings(tmp_path))
    workflow = client.job(JOB_ID)
    client.close()
    client.close()
    for call in (client.jobs, client.devices, workflow.status, lambda: list(workflow.watch())):
        with pytest.raises(ClientClosed, match="make a new one"):
            call()
    assert len(list((tmp_path / "data" / "logs").glob("coordinator-*.log"))) == 1
    assert all(_gone(pid) for pid in _pids(tmp_path))


@pytest.mark.usefixtures("environment")
def test_embedded_stops_programs_that_do_not_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunefarm.embedded.CLOSE_SECONDS", 0.3)
    monkeypatch.setattr("tunefarm.processes._TERMINATE_SECONDS", 0.3)
    client = Client(embedded=_settings(tmp_path, agent=("--deaf",)))
    client.devices()
    assert _within(30, lambda: len(_pids(tmp_path)) == 2)
    pids = _pids(tmp_path)
    client.close()
    assert all(_gone(pid) for pid in pids)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_behind_when_the_client_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    program = f"""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, {str(STAND_IN.parents[1])!r})
        from tests.contract.test_client import _settings
        from tunefarm import Client
        client = Client(embedded=_settings(Path({str(tmp_path)!r})))
        client.devices()
        print("up", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            assert _within(30, lambda: len(_pids(tmp_path)) == 2)
            pids = _pids(tmp_path)
            assert not any(_gone(pid) for pid in pids)
        finally:
            process.send_signal(number)
    assert _within(30, lambda: all(_gone(pid) for pid in pids))


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("--fail", "StoreError"), StoreError, "newer than this program"),
        (("--fail", "SomethingNew"), Internal, "newer than this program"),
        (("--die",), EmbeddedFailed, r"ended before it was ready; the end of .*\.log:\n.*the moon"),
    ],
)
def test_embedded_tells_why_it_could_not_start(
    tmp_path: Path, arguments: tuple[str, ...], error: type[TunefarmError], says: str
) -> None:
    with Client(embedded=_settings(tmp_path, *arguments)) as client, pytest.raises(error, match=says):
        client.jobs()
    assert all(_gone(pid) for pid in _pids(tmp_path))


@pytest.mark.usefixtures("environment")
def test_embedded_tells_when_the_coordinator_dies_in_mid_job(tmp_path: Path) -> None:
    with Client(embedded=_settings(tmp_path, "--hold-at", "3")) as client:
        watch = client.job(JOB_ID).watch()
        assert next(watch).state == "QUEUED"
        os.kill(int((tmp_path / "pids" / "serve.pid").read_text()), signal.SIGKILL)
        with pytest.raises(EmbeddedFailed, match="the coordinator on this machine ended unexpectedly"):
            list(watch)


@pytest.mark.usefixtures("environment")
def test_embedded_without_an_agent_starts_the_coordinator_alone(tmp_path: Path) -> None:
    settings: Any = _settings(tmp_path)
    with Client(embedded=EmbeddedSettings(**{**vars(settings), "agent": False})) as client:
        assert [job.job_id for job in client.jobs()] == ["job-0"]
    assert [path.name for path in (tmp_path / "pids").iterdir()] == ["serve.pid"]
