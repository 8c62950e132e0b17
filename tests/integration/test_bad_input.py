"""Bad input: one line that says what to do, exit code 2, nothing left behind, nothing spent."""

from pathlib import Path

import pytest

from tests.programs import agent, assert_nothing_left, coordinator, tunefarm, until
from tests.tiny_models import save_tiny_cnn, save_unsupported


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_tiny_cnn(folder / "tiny.onnx")
    save_tiny_cnn(folder / "batch.onnx", batch="N")
    save_unsupported(folder / "odd.onnx")
    (folder / "cat.onnx").write_bytes(b"miaow" * 100)
    (folder / "cut.onnx").write_bytes((folder / "tiny.onnx").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """One coordinator and one agent for every case: (home, address)."""
    home = tmp_path_factory.mktemp("home")
    with coordinator(home) as (_, address), agent(home, address):
        until(lambda: "cpu" in tunefarm(home, "devices", "--connect", address, "--json").stdout, 60, "no device came")
        yield home, address
    assert_nothing_left(home)


CASES = {
    "no such file": (["nowhere.onnx"], "nowhere.onnx"),
    "not ONNX": (["cat.onnx"], "cat.onnx"),
    "truncated": (["cut.onnx"], "cut.onnx"),
    "unknown input": (["tiny.onnx", "--input", "picture=1,3,16,16"], "image"),
    "wrong rank": (["tiny.onnx", "--input", "image=1,3,16"], "image"),
    "contradicts the model": (["tiny.onnx", "--input", "image=1,4,16,16"], "image"),
    "unsupported operator": (["odd.onnx"], "Jiggle"),
    "unknown target": (["tiny.onnx", "--target", "banana"], "banana"),
    "no device for the target": (
        ["tiny.onnx", "--target", '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "num-cores": 4}'],
        "no device serves",
    ),
    "no device of the kind": (["tiny.onnx", "--target", "cuda"], "no device serves"),
    "zero trials": (["tiny.onnx", "--trials-per-kernel", "0"], "trials"),
    "negative trials": (["tiny.onnx", "--max-trials", "-3"], "trials"),
    "zero trials of a template": (["tiny.onnx", "--kernel-trials", "0"], "kernel_trials"),
    "options of both tuners": (["tiny.onnx", "--kernel-trials", "3", "--trials-per-kernel", "3"], "drop kernel_trials"),
}

# `plan` reads all of it by the same code: a file, an input, a target, an option, and what preparation refuses.
PLANNED = ("truncated", "wrong rank", "no device for the target", "options of both tuners", "unsupported operator")


@pytest.mark.parametrize(
    ("command", "name"), [*(("tune", name) for name in CASES), *(("plan", name) for name in PLANNED)]
)
def test_bad_input(farm, folder: Path, name: str, command: str) -> None:  # type: ignore[no-untyped-def]
    home, address = farm
    arguments, told = CASES[name]
    model = str(folder / arguments[0])
    done = tunefarm(home, command, model, *arguments[1:], "--connect", address)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert str(home) not in done.stderr  # where the coordinator keeps the file is no name that its user knows
    assert "Traceback" not in done.stderr
    if name == "unsupported operator":
        assert "Wobble" in done.stderr
        assert "first" in done.stderr
        assert "second" in done.stderr


def test_errors_are_one_line(farm, folder: Path) -> None:  # type: ignore[no-untyped-def]
    home, address = farm
    done = tunefarm(home, "tune", str(folder / "cat.onnx"), "--connect", address)
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")


def test_unreachable_coordinator(tmp_path: Path, folder: Path) -> None:
    done = tunefarm(tmp_path, "tune", str(folder / "tiny.onnx"), "--connect", "127.0.0.1:1")
    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stderr


def test_output_folder_not_writable(tmp_path: Path, folder: Path) -> None:
    # Nobody may write there, not even root.
    done = tunefarm(tmp_path, "tune", str(folder / "tiny.onnx"), "--out", "/proc/tunefarm/package")
    assert done.returncode == 2
    assert "/proc/tunefarm" in done.stderr


def test_output_is_a_file(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = tunefarm(tmp_path, "tune", str(folder / "tiny.onnx"), "--out", str(tmp_path / "taken"))
    assert done.returncode == 2
    assert "taken" in done.stderr


def test_no_device_at_all(tmp_path: Path, folder: Path) -> None:
    with coordinator(tmp_path) as (_, address):
        done = tunefarm(tmp_path, "tune", str(folder / "tiny.onnx"), "--connect", address)
    assert done.returncode == 2
    assert "tunefarm-agent run" in done.stderr


def test_store_in_use(tmp_path: Path, folder: Path) -> None:
    with coordinator(tmp_path):
        done = tunefarm(tmp_path, "tune", str(folder / "tiny.onnx"))
    assert done.returncode == 2
    assert "--data-dir DIR" in done.stderr
    assert_nothing_left(tmp_path)
