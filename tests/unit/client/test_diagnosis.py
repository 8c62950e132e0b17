"""What `doctor` finds out about modules and programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefarm.diagnosis import _disk, _importable, _program


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
