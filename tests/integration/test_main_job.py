"""The main job, end to end, as a user runs it: real processes, real kernels."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.programs import (
    BIN,
    Program,
    agent,
    assert_nothing_left,
    coordinator,
    document,
    environment,
    free_port,
    tunefarm,
    until,
)


def test_tune_alone_on_this_machine(home: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "package"
    done = tunefarm(home, "tune", str(model), "--trials-per-kernel", "4", "--seed", "1", "--out", str(out), "--json")
    result = document(done)
    assert done.returncode == 0, done.stderr
    assert result["state"] == "SUCCEEDED"
    trials = result["trials"]
    assert trials["budget"] == 4 * len(result["tasks"])
    assert 0 < trials["charged"] <= trials["budget"]
    assert trials["charged"] == trials["valid"] + sum(trials["failed"].values())
    assert result["measurements"] >= len(result["tasks"])
    assert all(result["latency_ms"][name] > 0 for name in ("tuned", "untuned", "onnxruntime"))
    assert result["max_rel_error"] < 1e-3
    assert result["seconds"]["total"] > 0
    assert Path(result["package"]) == out
    assert_nothing_left(home)
    check_package(out)


def check_package(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    assert {node for task in manifest["tasks"] for node in task["nodes"]} >= {"conv1", "relu1", "conv2", "relu2"}
    assert manifest["latency_ms"]["tuned"] > 0
    assert manifest["latency_mean_ms"]["tuned"] > 0
    # Whatever left the default schedule did so because it was faster inside the model.
    for task in manifest["tasks"]:
        if task["schedule"] == "tuned":
            assert 0 < task["seconds_in_model"]["tuned"] < 1.5 * task["seconds_in_model"]["default"]
    assert {path.name for path in out.iterdir()} >= {"manifest.json", "run.py", "inputs.npz", manifest["library"]}
    done = subprocess.run([sys.executable, "run.py"], cwd=out, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_two_terminals(home: Path, model: Path, tmp_path: Path) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    with coordinator(home, 0, "--metrics", metrics) as (_, address), agent(tmp_path, address):
        until(
            lambda: bool(document(tunefarm(home, "devices", "--connect", address, "--json"))["devices"]),
            30,
            "the agent never registered",
        )
        started = tunefarm(
            home, "tune", str(model), "--connect", address, "--trials-per-kernel", "2", "--detach", "--json"
        )
        assert started.returncode == 0, started.stderr
        job = document(started)["job_id"]
        watched = tunefarm(home, "job", "watch", job, "--connect", address)
        assert watched.returncode == 0, watched.stdout + watched.stderr
        shown = document(tunefarm(home, "job", "show", job, "--connect", address, "--json"))
        assert shown["state"] == "SUCCEEDED"
        out = tmp_path / "fetched"
        fetched = tunefarm(home, "job", "fetch", job, "--connect", address, "--out", str(out))
        assert fetched.returncode == 0, fetched.stderr
        check_package(out)
        listed = tunefarm(home, "jobs", "--connect", address, "--json")
        assert job in listed.stdout
        check_what_tools_read(address, metrics)
        artifacts = home / "data" / "tunefarm" / "artifacts"
        # The reference kernel is for the jobs to come.
        until(
            lambda: len([path for path in artifacts.rglob("*") if path.is_file()]) == 1,
            15,
            "artifacts outlived the job",
        )
        # A later job starts from what this one found.
        planned = document(tunefarm(home, "plan", str(model), "--connect", address, "--json"))
        known = [task["known_records"] for task in planned["tasks"]]
        # Not all of them need be there: one that is clearly slower than the other is let go at the first look.
        assert sum(known) <= 2 * len(planned["tasks"])
        assert min(known) >= 1
        assert planned["measured_jobs"] == 1
        assert planned["estimated_seconds"] > planned["budget"] / planned["trials_per_second"]
        more = ("--max-trials", "40", "--trials-per-kernel", "40")
        again = ("--connect", address, *more, "--json", "--out", str(tmp_path / "again"))
        later = json.loads(nothing_listens_off_loopback((home, tmp_path), "tune", str(model), *again))
        assert later["state"] == "SUCCEEDED"
        assert 0 < later["trials"]["charged"] <= later["trials"]["budget"] < 40
        # Of each task: the default schedule, and the best of the first job, measured again without a trial.
        assert later["measurements"] >= 2 * len(later["tasks"])
        check_taking_back(home, model, address)
    assert_nothing_left(home)


def check_taking_back(home: Path, model: Path, address: str) -> None:
    """What the agent reported bears its name, and without it nothing is known of the model."""
    (device,) = document(tunefarm(home, "devices", "--connect", address, "--json"))["devices"]
    command = ("schedules", "retract", "--connect", address, "--json")
    retract = (*command, "--agent", device["agent_id"])
    found = document(tunefarm(home, *retract, "--dry-run"))
    by_device = ("--device", f"{device['agent_id']}/{device['device_id']}")
    assert document(tunefarm(home, *command, *by_device, "--dry-run")) == found
    assert tunefarm(home, *command, "--device", "board-7/cpu0", "--yes").returncode == 2
    assert found["records"] > 0
    assert found["verifications"] > 0
    assert found["comparisons"] > 0
    assert document(tunefarm(home, *retract, "--yes")) == {**found, "dry_run": False}
    planned = document(tunefarm(home, "plan", str(model), "--connect", address, "--json"))
    assert {task["known_records"] for task in planned["tasks"]} == {0}


def check_what_tools_read(address: str, metrics: str) -> None:
    """Health and reflection for gRPC tools, gauges for Prometheus."""
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {f"tunefarm.v1.{name}Service" for name in ("Tuning", "Farm", "Schedule")} <= set(services)
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert "tunefarm_devices 1.0" in text
    assert re.search(r'tunefarm_device_state\{agent="[^"]+",device="cpu0",state="(idle|busy)"\} 1\.0', text)
    assert "tunefarm_device_outcomes_total" in text


def test_ctrl_c_leaves_nothing(home: Path, model: Path) -> None:
    program = subprocess.Popen(
        [str(BIN / "tunefarm"), "tune", str(model), "--trials-per-kernel", "200"],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    with program.stdout:
        try:
            said = iter(program.stdout.readline, "")
            assert any("TUNING" in line.upper() for line in said)
            os.kill(program.pid, signal.SIGINT)
            assert program.wait(60) == 130, program.stdout.read()
        finally:
            program.kill()
            program.wait()
    assert_nothing_left(home)


def test_no_valid_trial_at_all_is_a_failure(home: Path, model: Path) -> None:
    # Every builder dies on every candidate.
    done = tunefarm(home, "tune", str(model), "--max-trials", "2", "--json", faults="crash_build=1")
    result = document(done)
    assert done.returncode == 1
    assert result["state"] == "FAILED"
    assert result["trials"]["valid"] == 0
    assert result["trials"]["failed"] == {"BUILD_ERROR": 2}
    assert "BUILD_ERROR" in result["error"]["message"]
    assert_nothing_left(home)


def nothing_listens_off_loopback(homes: tuple[Path, ...], *arguments: str) -> str:
    """What the command prints, run with the first home; all that listens for any of them meanwhile does so here."""
    job = Program(homes[0], "job", "tunefarm", *arguments)
    seen = set()
    try:
        while job.process.poll() is None:
            seen.update(listeners(homes))
    finally:
        job.stop()
    assert any("serve" in command for command, _ in seen), seen
    assert not [row for row in seen if not row[1].startswith(("127.", "::1", "::ffff:127."))]
    return job.text()[job.text().index("{") :]


def listeners(homes: tuple[Path, ...]) -> list[tuple[str, str]]:
    """(command, address) of every listening socket of ours. Ray binds its own ports as it likes: left out."""
    found: list[tuple[str, str]] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") not in map(str, homes):
                continue
            command = " ".join(process.cmdline())
            if "ray" in command or "compute" in command:
                continue
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.append((command, connection.laddr.ip))
        except psutil.Error:
            continue
    return found
