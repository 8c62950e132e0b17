"""The GPU check's script, tried on a CPU: real programs from end to end, and nothing left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fake_cuda import NAME, FakeCuda
from tests.programs import assert_nothing_left, environment
from tests.tiny_models import save_tiny_cnn

CHECK = Path(__file__).parents[1] / "gpu" / "check.sh"


def check(home: Path, *arguments: str, host: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """`host`: the environment of another one than this."""
    # A Python that has no PyTorch, here: what is there of it elsewhere is not this test's business.
    command = [str(CHECK), "--python", sys.executable, "--torch-python", sys.executable, "--out", str(home / "out")]
    return subprocess.run(
        [*command, *arguments],
        env={**(host or environment(home)), "TMPDIR": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.slow
def test_a_dry_run(tmp_path: Path) -> None:
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    done = check(
        tmp_path,
        "--dry-run-on-cpu",
        "--onnx",
        str(model),
        "--trials-per-kernel",
        "2",
        "--rounds",
        "3",
        "--commit",
        "c0ffee",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads((tmp_path / "out" / "check.json").read_text())
    assert document["dry_run"] is True
    assert "DRY RUN ON A CPU" in done.stdout
    assert document["facts"]["commit"] == "c0ffee"
    assert any("comparison with PyTorch" in words and "has no torch" in words for words in document["skipped"])
    job, timing = document["jobs"]["tiny"], document["timing"]["tiny"]
    assert job["trials"]["charged"] > 0
    assert job["job_seconds"]["total"] > 0
    assert timing["reference"] == "ONNX Runtime, CPU"
    assert all(each["matches"] and each["ms"] > 0 for each in timing["contenders"].values())
    assert set(timing["package_over"]) == {"package again"}
    assert document["run_py"]["tiny"].startswith("latency: ")
    assert_nothing_left(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "gpu-check" in path.name] == []


@pytest.mark.slow
def test_on_a_gpu_that_is_fake(tmp_path: Path, home: Path) -> None:
    gpu = FakeCuda(tmp_path / "gpu")
    model = save_tiny_cnn(home / "tiny.onnx")
    options = ("--models", "", "--onnx", str(model), "--trials-per-kernel", "2", "--rounds", "3")
    done = check(home, *options, host=gpu.environment(environment(home)))
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads((home / "out" / "check.json").read_text())
    assert (document["dry_run"], document["facts"]["card"], document["failures"]) == (False, NAME, [])
    assert document["jobs"]["tiny"]["trials"]["charged"] > 0
    assert all(each["matches"] for each in document["timing"]["tiny"]["contenders"].values())
    assert document["run_py"]["tiny"].startswith("latency: ")
    assert document["gpu_busy_percent"] is not None
    assert gpu["launches"] > 0
    assert_nothing_left(home)


@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="there is an NVIDIA driver here")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no NVIDIA GPU answers here")


def test_a_python_without_tunefarm_is_asked_for(tmp_path: Path) -> None:
    copy = tmp_path / "repository" / "tests" / "gpu" / "check.sh"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CHECK.read_bytes())
    done = subprocess.run(
        ["bash", str(copy)], env={**os.environ, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "make setup" in done.stderr
