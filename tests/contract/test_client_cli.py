"""The command line against a fake coordinator over real gRPC: documents, exit codes, one-line errors."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.contract.test_client import STAND_IN, _gone, _little_model, _pids, _within
from tests.tuning_stand_in import JOB_ID, FakeCoordinator, failing
from tunefarm.cli import main
from tunefarm.cli.parameters import Reach
from tunefarm.diagnosis import Finding

KEYS = [
    "job_id",
    "state",
    "tasks",
    "trials",
    "measurements",
    "latency_ms",
    "latency_mean_ms",
    "first_call_ms",
    "max_rel_error",
    "seconds",
    "package",
]
# Of a command that follows the job.
FOLLOWED = [*KEYS, "history"]


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    coordinator = FakeCoordinator()
    yield coordinator
    coordinator.stop()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder and HOME, with one model in it."""
    for name in ("TUNEFARM_CONNECT", "TUNEFARM_TOKEN", "TUNEFARM_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    _little_model(folder / "m.onnx")
    return folder


def _document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


# ---- tune


def test_tune_prints_progress_and_a_summary(
    fake: FakeCoordinator, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "m.onnx", "--connect", fake.start(), "-o", "out"]) == 0
    out = capsys.readouterr().out
    for part in ("sending the model", "tuning, 4/8 trials", "2.00 ± 0.10 ms", "4.50x faster", "python out/run.py"):
        assert part in out
    assert (folder / "out" / "lib" / "model.so").read_bytes() == fake.package["lib/model.so"]


def test_tune_json_is_the_promised_document(
    fake: FakeCoordinator, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "m.onnx", "--connect", fake.start(), "--json"]) == 0
    document = _document(capsys)
    assert list(document) == FOLLOWED
    assert document["package"] == str(folder / "m-tuned")
    assert document["latency_ms"] == {"tuned": 2.0, "untuned": 9.0, "onnxruntime": 3.0}
    assert document["latency_mean_ms"] == {"tuned": 2.5, "untuned": None, "onnxruntime": None}
    assert (folder / "m-tuned" / "run.py").is_file()


@pytest.mark.parametrize(
    ("arguments", "tuner", "given"),
    [
        ([], None, {}),
        (["--trials-per-kernel", "3"], "autoscheduler", {"trials_per_kernel": 3}),
        (["--kernel-trials", "3"], "autotvm", {"kernel_trials": 3}),
        (["--early-stopping-threshold", "3"], "autotvm", {"early_stopping_threshold": 3}),
        (
            ["--trials-per-kernel", "4", "--early-stopping-threshold", "3"],
            "autoscheduler",
            {"trials_per_kernel": 4, "early_stopping_threshold": 3},
        ),
        (["--tuner", "autotvm"], "autotvm", {}),
        (["--tuner", "both", "--trials-per-kernel", "3"], "both", {"trials_per_kernel": 3}),
        (
            ["--tuner", "autoscheduler", "--early-stopping-threshold", "3"],
            "autoscheduler",
            {"early_stopping_threshold": 3},
        ),
    ],
)
def test_options_pick_the_tuner_as_in_the_sdk(
    fake: FakeCoordinator, arguments: list[str], tuner: str | None, given: dict[str, int]
) -> None:
    common = ["--connect", fake.start(), "--detach", "--max-trials", "9", "--seed", "1", "--input", "x=1,3"]
    assert main(["tune", "m.onnx", *common, *arguments]) == 0
    (request,) = fake.submitted
    assert request.spec.WhichOneof("tuning") == tuner
    if tuner is not None:
        options = getattr(request.spec, tuner)
        assert {field.name: value for field, value in options.ListFields()} == given
    assert (request.spec.max_trials, request.spec.seed, request.spec.targets[0].text) == (9, 1, "host")
    assert list(request.spec.shape_sets[0].inputs["x"].dims) == [1, 3]


def test_detach_says_how_to_go_on(fake: FakeCoordinator, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = fake.start()
    assert main(["tune", "m.onnx", "--connect", address, "--detach", "--json"]) == 0
    assert _document(capsys)["state"] == "QUEUED"
    assert main(["tune", "m.onnx", "--connect", address, "--detach"]) == 0
    assert f"tunefarm job watch {JOB_ID} --connect {address}" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(("kind", "code"), [("NO_VALID_TRIAL", 1), ("INVALID_INPUT", 2), ("NO_DEVICE", 2)])
def test_a_failed_job_tells_why_and_leaves_no_folder(
    fake: FakeCoordinator, folder: Path, capsys: pytest.CaptureFixture[str], kind: str, code: int
) -> None:
    fake.script = failing(kind, "no candidate ran:\n most often RUN_ERROR")
    assert main(["tune", "m.onnx", "--connect", fake.start(), "--json"]) == code
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["error"] == {"kind": kind, "message": "no candidate ran:\n most often RUN_ERROR"}
    assert (document["state"], document["package"]) == ("FAILED", None)
    assert captured.err.splitlines()[-1] == "error: no candidate ran: most often RUN_ERROR"
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


# ---- the other commands


def test_plan(fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    address = fake.start()
    assert main(["plan", "m.onnx", "--connect", address, "--trials-per-kernel", "2"]) == 0
    out = capsys.readouterr().out
    assert "8 trials for 3 tasks with autoscheduler" in out
    assert "note: the budget of 8 trials does not reach 1 task" in out
    assert "estimated time: none" in out
    assert "Conv_0, Rel" in out
    assert main(["plan", "m.onnx", "--connect", address, "--json"]) == 0
    document = _document(capsys)
    assert (document["budget"], len(document["tasks"])) == (8, 3)
    assert document["tasks"][0]["nodes"] == ["Conv_0", "Relu_0", "Add_1"]
    assert fake.submitted == []


def test_jobs_and_devices(fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    connect = ["--connect", fake.start()]
    fake.job_count = 3
    assert main(["jobs", *connect, "--json"]) == 0
    assert [job["job_id"] for job in _document(capsys)["jobs"]] == ["job-0", "job-1", "job-2"]
    assert main(["jobs", *connect]) == 0
    assert "job-2" in capsys.readouterr().out
    assert main(["devices", *connect, "--json"]) == 0
    listed = _document(capsys)["devices"][0]
    assert (listed["name"], listed["measured"], listed["failed"]) == ("a [cpu]", 4, 1)
    assert main(["devices", *connect]) == 0
    out = capsys.readouterr().out
    assert "agent-1/cpu0" in out
    assert "25%" in out
    assert main(["devices", *connect, "--watch", "--json"]) == 2


def test_drain_and_resume(fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    connect = ["--connect", fake.start()]
    assert main(["farm", "drain", "agent/cpu0", "--reason", "new fan", *connect]) == 0
    assert "new fan" in capsys.readouterr().out
    assert fake.drained == "new fan"
    assert main(["farm", "resume", "agent-1", *connect, "--json"]) == 0
    assert _document(capsys)["devices"][0]["state"] == "IDLE"
    assert main(["farm", "drain", "stranger", *connect]) == 2
    assert "stranger" in capsys.readouterr().err
    assert main(["farm", "drain", "/cpu0", *connect]) == 2
    assert "names no agent" in capsys.readouterr().err


def test_job_show_watch_and_fetch(fake: FakeCoordinator, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connect = ["--connect", fake.start()]
    assert main(["job", "show", JOB_ID, *connect]) == 0
    assert "preparing the model" in capsys.readouterr().out
    assert main(["job", "watch", JOB_ID, *connect]) == 0
    assert f"tunefarm job fetch {JOB_ID} --connect" in capsys.readouterr().out
    assert main(["job", "watch", JOB_ID, *connect, "--json"]) == 0
    assert _document(capsys)["state"] == "SUCCEEDED"
    assert main(["job", "show", JOB_ID, *connect, "--json"]) == 0
    assert list(_document(capsys)) == KEYS
    assert main(["job", "fetch", JOB_ID, *connect, "--json", "--out", "p"]) == 0
    assert _document(capsys)["package"] == str(folder / "p")
    assert (folder / "p" / "manifest.json").read_text() == "{}"


def test_job_cancel_then_watch(fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    fake.hold_at = 2
    connect = ["--connect", fake.start()]
    assert main(["job", "cancel", JOB_ID, *connect, "--json"]) == 0
    assert _document(capsys)["state"] == "CANCELLED"
    assert main(["job", "watch", JOB_ID, *connect]) == 1
    assert "cancelled" in capsys.readouterr().out


def test_doctor_looks_at_the_coordinator_too(
    fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tunefarm.diagnosis._importable", lambda name, _: Finding(name, "ok", ""))
    assert main(["doctor", "--connect", fake.start(), "--json"]) == 0
    checks = {check["name"]: check for check in _document(capsys)["checks"]}
    assert checks["python"]["state"] == "ok"
    assert checks["cores"]["detail"].startswith(f"{len(os.sched_getaffinity(0))} usable")
    assert checks["coordinator"]["state"] == "ok"
    assert {"tvm", "ray", "compiler", "linker", "disk", "tunefarm[agent]"} <= set(checks)


def test_doctor_exits_with_1_when_the_coordinator_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tunefarm.diagnosis._importable", lambda name, _: Finding(name, "ok", ""))
    assert main(["doctor", "--connect", _refusing_address(), "--json"]) == 1
    assert [c["state"] for c in _document(capsys)["checks"] if c["name"] == "coordinator"] == ["missing"]


def test_serve_becomes_the_coordinators_program(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr("tunefarm.cli.serve.require_extras", lambda *_: None)
    monkeypatch.setattr("os.execv", lambda path, arguments: started.append((path, arguments)))
    main(["serve", "--listen", "127.0.0.1:1", "-x", "--store=sqlite://", "--help", "word"])
    ((path, arguments),) = started
    assert path == sys.executable
    assert arguments[1:] == [
        *("-m", "tunefarm_coordinator", "serve", "--listen", "127.0.0.1:1", "-x", "--store=sqlite://", "--help", "word")
    ]


def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "importlib.metadata.requires",
        lambda _: ["rich", 'no-such-thing>=1; extra == "coordinator"', 'neither==2 ; extra == "agent"'],
    )
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == (
        "error: the coordinator needs packages that are not installed here (no-such-thing): "
        "pip install 'tunefarm[coordinator]'\n"
    )
    assert main(["tune", "m.onnx"]) == 2
    assert "pip install 'tunefarm[coordinator,agent]'" in capsys.readouterr().err


# ---- bad input


def _refusing_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tune", "gone.onnx"], "no such file: gone.onnx"),
        (["tune", "."], "not a file"),
        (["tune", "text.onnx"], "not an ONNX model"),
        (["tune", "cut.onnx"], "truncated"),
        (["tune"], "MODEL.onnx"),
        (["tune", "m.onnx", "--input", "x"], "--input 'x'"),
        (["tune", "m.onnx", "--input", "x=1,-3"], "NAME=1,3,224,224"),
        (["tune", "m.onnx", "--trials-per-kernel", "0"], "trials_per_kernel is 0"),
        (["tune", "m.onnx", "--kernel-trials", "-1"], "kernel_trials is -1"),
        (["tune", "m.onnx", "--max-trials", "-1"], "max_trials is -1"),
        (["tune", "m.onnx", "--max-trials", "many"], "--max-trials"),
        (["tune", "m.onnx", "--max-seconds", "0"], "max_seconds is 0"),
        (["tune", "m.onnx", "--seed", "-1"], "seed is -1"),
        (["tune", "m.onnx", "--tuner", "ansor"], "autoscheduler, autotvm, both"),
        (["tune", "m.onnx", "--tuner", "autotvm", "--trials-per-kernel", "3"], "trials_per_kernel"),
        (["tune", "m.onnx", "--kernel-trials", "3", "--trials-per-kernel", "3"], "drop"),
        (["tune", "m.onnx", "--target", "{oops"], "JSON"),
        (["tune", "m.onnx", "-o", "m.onnx"], "output folder m.onnx"),
        (["tune", "m.onnx", "-o", "/proc/out"], "output folder /proc/out"),
        (["tune", "m.onnx", "--detach"], "--detach needs --connect"),
        (["tune", "m.onnx", "--connect", "a:b"], "HOST:PORT"),
        (["tune", "m.onnx", "--connect", "192.0.2.1:7700"], "--insecure"),
        (["plan", "gone.onnx"], "no such file"),
        (["plan", "m.onnx", "--max-trials", "-5"], "max_trials is -5"),
        (["job", "show"], "ID"),
        (["jobs", "--connect", ":"], "HOST:PORT"),
        (["nonsense"], "nonsense"),
        (["tune", "m.onnx", "--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    (folder / "text.onnx").write_text("not a model, only some text\n")
    (folder / "cut.onnx").write_bytes((folder / "m.onnx").read_bytes()[:-5])
    before = sorted(path.name for path in folder.iterdir())
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    assert says in captured.err
    assert sorted(path.name for path in folder.iterdir()) == before
    assert not (folder.parent / "home").exists()


@pytest.mark.parametrize(
    ("rpc", "code"),
    [
        ("UploadModel", grpc.StatusCode.INVALID_ARGUMENT),
        ("SubmitJob", grpc.StatusCode.INVALID_ARGUMENT),
        ("SubmitJob", grpc.StatusCode.FAILED_PRECONDITION),
        ("SubmitJob", grpc.StatusCode.UNAUTHENTICATED),
    ],
)
def test_what_the_coordinator_refuses_is_bad_input_too(
    fake: FakeCoordinator, folder: Path, capsys: pytest.CaptureFixture[str], rpc: str, code: grpc.StatusCode
) -> None:
    fake.errors[rpc] = (code, "no device serves 'x':\nthere are cpu0, cpu1")
    assert main(["tune", "m.onnx", "--connect", fake.start(), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == "error: no device serves 'x': there are cpu0, cpu1"
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


def test_an_unreachable_coordinator_is_named_within_five_seconds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = _refusing_address()
    started = time.monotonic()
    assert main(["tune", "m.onnx", "--connect", address, "--json"]) == 2
    assert time.monotonic() - started < 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith(f"error: no coordinator answers at {address}")
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


def test_an_unknown_job_is_bad_input(fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    connect = ["--connect", fake.start()]
    for command in ("show", "watch", "cancel", "fetch"):
        assert main(["job", command, "job-77", *connect]) == 2
        assert "job-77" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["job"], ["schedules"], ["farm"], ["farm", "token"]])
def test_a_group_without_a_command_shows_its_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"Usage: {' '.join(['tunefarm', *arguments])} ")
    assert "\nCommands:\n" in shown.err
    assert main([*arguments, "--help"]) == 0
    assert capsys.readouterr().out.split() == shown.err.split()


def test_what_is_to_be_typed_next_is_quoted(fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    connect = ["--connect", fake.start()]
    assert main(["tune", "m.onnx", *connect, "-o", "my models/it's"]) == 0
    command = _next(capsys.readouterr().out)
    assert shlex.split(command) == ["python", "my models/it's/run.py"]
    assert main(["job", "fetch", JOB_ID, *connect, "-o", "my models"]) == 0
    assert shlex.split(_next(capsys.readouterr().out)) == ["python", "my models/run.py"]
    reach = Reach(None, None, False, Path("/my data"))
    assert shlex.split(reach.command("job", "show", "j")) == ["tunefarm", "job", "show", "j", "--data-dir", "/my data"]


def _next(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("next: ")).removeprefix("next: ")


HOSTILE = "a\x1b]0;b\x07\nsucceeded \u202etxt"


@pytest.mark.parametrize(
    "arguments",
    [["plan", "m.onnx"], ["job", "show", JOB_ID], ["job", "watch", JOB_ID], ["devices"], ["job", "show", HOSTILE]],
)
def test_nothing_that_others_wrote_reaches_the_terminal_as_control(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    for job in fake.script:
        job.model_name, job.spec.name, job.device = HOSTILE, HOSTILE, HOSTILE
        job.notes.append(HOSTILE)
    fake.plan.notes.append(HOSTILE)
    fake.drained = HOSTILE
    main([*arguments, "--connect", fake.start()])
    shown = "".join(capsys.readouterr())
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert not any(line.lstrip().startswith("succeeded \\u202e") for line in shown.splitlines())
    assert "x1b" in shown
    assert main(["job", "show", JOB_ID, "--connect", fake.start(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"]


# ---- as real processes


def _run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from tunefarm.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **extra})


def test_the_real_program_writes_one_document_and_keeps_the_rest_off_stdout(fake: FakeCoordinator) -> None:
    fake.break_watch_after = [2]
    ran = _run("tune", "m.onnx", "--json", TUNEFARM_CONNECT=fake.start(), TUNEFARM_TOKEN="secret", COLUMNS="60")
    assert (ran.returncode, list(json.loads(ran.stdout))) == (0, FOLLOWED)
    assert all(line.startswith("[") for line in ran.stderr.splitlines())
    assert fake.tokens == {"Bearer secret"}


def test_nobody_may_read_what_is_printed(fake: FakeCoordinator) -> None:
    fake.job_count = 3
    program = f"{shlex.quote(sys.executable)} -c 'import sys; from tunefarm.cli import main; sys.exit(main())'"
    environment = {**os.environ, "TUNEFARM_CONNECT": fake.start()}
    gone = "| true; exit ${PIPESTATUS[0]}"
    for script, code in (("jobs >&-", 0), ("jobs --json >&- 2>&-", 0), (f"jobs {gone}", 1), (f"jobs --json {gone}", 1)):
        command = ["bash", "-c", f"{program} {script}"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
        assert (ran.returncode, ran.stderr) == (code, ""), script


def test_help_reads_well_at_sixty_columns() -> None:
    ran = _run("tune", "--help", COLUMNS="60", TERM="dumb")
    assert ran.returncode == 0
    assert max(len(line) for line in ran.stdout.splitlines()) <= 60
    assert "--early-stopping-threshold N" in ran.stdout


def _interrupted(command: list[str], ready: str) -> tuple[int, str]:
    """Starts the command, sends Ctrl-C once `ready` shows up on stdout; its exit code and all output."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        seen = ""
        try:
            for line in process.stdout:
                seen += line
                if ready in line:
                    break
            process.send_signal(signal.SIGINT)
            seen += process.stdout.read()
            return process.wait(20), seen
        finally:
            process.kill()


def test_ctrl_c_leaves_a_connected_job_alone_and_says_how_to_go_on(fake: FakeCoordinator, folder: Path) -> None:
    fake.hold_at = 2
    address = fake.start()
    program = "import sys; from tunefarm.cli import main; sys.exit(main())"
    code, output = _interrupted([sys.executable, "-c", program, "tune", "m.onnx", "--connect", address], "tuning")
    assert code == 130
    assert f"job {JOB_ID} goes on" in output
    assert f"tunefarm job cancel {JOB_ID} --connect {address}" in output
    assert not fake.cancelled.is_set()
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


def test_ctrl_c_cancels_an_embedded_job_and_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"""
        import functools, sys
        sys.path.insert(0, {str(STAND_IN.parents[1])!r})
        import tunefarm.embedded
        stand_in = (sys.executable, {str(STAND_IN)!r}, "--pids", {str(tmp_path / "pids")!r})
        tunefarm.embedded.EmbeddedSettings = functools.partial(
            tunefarm.embedded.EmbeddedSettings,
            coordinator_command=(*stand_in, "--hold-at", "2", "--note-cancel", {str(tmp_path / "cancelled")!r}),
            agent_command=stand_in,
            check_extras=False,
        )
        from tunefarm.cli import main
        sys.exit(main(["tune", "m.onnx"]))
    """
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN.parents[1]), prepend=os.pathsep)
    code, output = _interrupted([sys.executable, "-c", textwrap.dedent(program)], "tuning")
    assert code == 130
    assert "cancelling job" in output
    assert "Traceback" not in output
    assert (tmp_path / "cancelled").read_text() == "True"
    pids = _pids(tmp_path)
    assert len(pids) == 2
    assert _within(30, lambda: all(_gone(pid) for pid in pids))
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


def test_the_live_view_draws_in_a_narrow_terminal(fake: FakeCoordinator) -> None:
    fake.hold_at = 3
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
    program = "import sys; from tunefarm.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "tune", "m.onnx", "--connect", fake.start()]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment | {"TERM": "xterm"}) as process:
        os.close(terminal)
        try:
            drawn = _read_until(controller, "8/8 trials")
            fake.script = fake.script[:3] + failing("NO_VALID_TRIAL", "none ran")[-1:]
            fake.script[-1].sequence = 50
            fake.hold_at = None
            fake.released.set()
            drawn += _read_until(controller, "error: none ran")
            assert process.wait(20) == 1
        finally:
            process.kill()
            os.close(controller)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "\n").splitlines()]
    assert max(len(line) for line in lines) <= 60
    assert any(line.startswith("fused_conv2d") and "…" in line for line in lines)
    assert drawn.count("\x1b[?25h") >= 1  # the cursor is back


def _read_until(descriptor: int, text: str) -> str:
    seen = b""
    deadline = time.monotonic() + 20
    while text.encode() not in seen and time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.2)[0]:
            try:
                seen += os.read(descriptor, 65536)
            except OSError:  # the terminal's last user has gone
                break
    assert text.encode() in seen
    return seen.decode()
