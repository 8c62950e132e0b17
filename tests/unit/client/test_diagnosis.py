"""What `doctor` finds out about modules and programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefarm.diagnosis import _disk, _gpus, _importable, _program


def test_a_module_is_imported_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "healthy_part.py").write_text("__version__ = '7.1'")
    (tmp_path / "broken_part.py").write_text("import a_module_that_is_nowhere")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert _importable("healthy_part", "x") == ("healthy_part", "ok", "7.1")
    assert _importable("absent_part", "tuning")[1:] == ("optional", "not installed; needed for tuning")
    assert _importable("broken_part", "x")[1:] == (
        "missing",
        "installed, but can't be imported: ModuleNotFoundError: No module named 'a_module_that_is_nowhere'",
    )


def test_programs_are_looked_up_in_order() -> None:
    assert _program("shell", ("no-such-shell", "sh"), "x").state == "ok"
    assert _program("compiler", ("no-such-cc",), "linking") == (
        "compiler",
        "optional",
        "none of no-such-cc; needed for linking",
    )


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = {"bytes": 3 * 2**30}
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free["bytes"]}))
    assert _disk(tmp_path / "not" / "made").state == "ok"
    free["bytes"] = 2**20
    assert _disk(tmp_path).state == "missing"


@pytest.mark.parametrize(
    ("script", "state", "says"),
    [
        ("echo 'NVIDIA H, 580.1'; echo 'NVIDIA H, 580.1'", "ok", "NVIDIA H, 580.1; NVIDIA H, 580.1"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "missing", "version mismatch"),
        (None, "optional", "no nvidia-smi"),
    ],
)
def test_gpus_are_those_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, state: str, says: str
) -> None:
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = _gpus()
    assert (found.name, found.state) == ("GPUs", state)
    assert says in found.detail
