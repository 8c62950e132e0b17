"""A whole job for a GPU that is fake: coordinator, builders, agent, package and TVM's CUDA runtime are real."""

import json
import os
import shutil
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests.fake_cuda import GONE, FakeCuda
from tests.programs import Program, agent, assert_nothing_left, coordinator, document, tunefarm, until
from tests.tiny_models import save_tiny_cnn
from tunefarm_coordinator.models import packaged_run


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """This host's."""
    gpu = FakeCuda(tmp_path / "gpu")
    for name, value in gpu.environment().items():
        monkeypatch.setenv(name, value)
    return gpu


@pytest.mark.slow
def test_a_model_is_tuned_for_it_and_its_package_runs_on_it(
    gpu: FakeCuda, home: Path, model: Path, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    with coordinator(home) as (_, address), agent(home, address, "--device", "cuda0") as program:
        program.wait_for("attached", 60)
        options = ("--connect", address, "--target", "cuda", "--trials-per-kernel", "2", "--out", str(package))
        done = tunefarm(home, "tune", str(model), *options, "--json", timeout=280)
        assert done.returncode == 0, f"{done.stderr}\n{program.text()}"
    result = document(done)
    assert result["state"] == "SUCCEEDED"
    trials = result["trials"]
    assert trials["charged"] == trials["valid"] + trials["failed"].get("BUILD_ERROR", 0) == 4
    assert set(trials["failed"]) <= {"BUILD_ERROR"}
    assert trials["valid"] > 0
    assert result["max_rel_error"] < 1e-4
    assert 0 < result["latency_ms"]["tuned"] <= result["latency_ms"]["untuned"]
    assert json.loads((package / "manifest.json").read_text())["target"]["kind"] == "cuda"
    assert_nothing_left(home)
    for runtime_only in ("0", "1"):
        before = gpu["launches"]
        said = ran(package, TVM_USE_RUNTIME_LIB=runtime_only)
        assert "classes: float32 (1, 10)" in said
        assert "latency: " in said
        # 21 times through the model.
        assert gpu["launches"] - before >= 21


@pytest.mark.slow
def test_two_shape_sets_share_a_package(gpu: FakeCuda, home: Path, tmp_path: Path) -> None:
    model, package = save_tiny_cnn(tmp_path / "batches.onnx", batch="n"), tmp_path / "package"
    with coordinator(home) as (_, address), agent(home, address, "--device", "cuda0") as program:
        program.wait_for("attached", 60)
        sets = ("--shape-set", "image=1,3,16,16", "--shape-set", "image=2,3,16,16", "--pad", "image")
        options = ("--connect", address, "--target", "cuda", "--trials-per-kernel", "1", "--out", str(package))
        result = document(tunefarm(home, "tune", str(model), *sets, *options, "--json", timeout=280))
    assert result["state"] == "SUCCEEDED", result
    assert [each["max_rel_error"] < 1e-4 for each in result["shape_sets"]] == [True, True]
    before = gpu["launches"]
    said = ran(package, TVM_USE_RUNTIME_LIB="1")
    assert "classes: float32 (1, 10)" in said
    assert "classes: float32 (2, 10)" in said
    assert gpu["launches"] - before >= 42


@pytest.mark.slow
def test_a_device_that_is_gone_for_a_while_costs_a_job_nothing_but_time(
    gpu: FakeCuda, home: Path, model: Path, tmp_path: Path
) -> None:
    with coordinator(home) as (_, address), agent(home, address, "--device", "cuda0") as program:
        program.wait_for("attached", 60)
        options = ("--connect", address, "--target", "cuda", "--trials-per-kernel", "4")
        job = Program(home, "job", "tunefarm", "tune", str(model), *options, "--out", str(tmp_path / "out"), "--json")
        until(lambda: gpu["launches"] > 0, 120, job.text)
        gpu["error_at_launch"] = gpu["launches"] + 20
        program.wait_for("lease given up", 120)
        gpu.mend()
        assert job.ended(280) == 0, job.text()
    result = json.loads(job.text()[job.text().index("{") :])
    trials = result["trials"]
    assert (result["state"], trials["charged"], trials["failed"]) == ("SUCCEEDED", 8, {})


def ran(package: Path, **environment: str) -> str:
    """What `run.py` prints."""
    done = subprocess.run(
        [sys.executable, "run.py"],
        cwd=package,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """As much of one as is read before the device is looked for."""
    (tmp_path / "manifest.json").write_text('{"target": {"kind": "cuda"}}')
    shutil.copy(packaged_run.__file__, tmp_path / "run.py")
    return tmp_path


def said(package: Path) -> str:
    """What `run.py` gives up with: one line."""
    command = [sys.executable, "run.py"]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


def test_a_package_says_that_there_is_no_device(gpu: FakeCuda, package: Path) -> None:
    gpu["error"] = GONE
    assert "this model is for cuda, and there is no such device here" in said(package)


@pytest.mark.skipif(find_library("cuda") is not None, reason="for a machine without NVIDIA's driver")
def test_a_package_says_what_is_missing(package: Path) -> None:
    assert "libcuda.so.1: cannot open shared object file" in said(package)
