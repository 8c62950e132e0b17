"""One package for several shape sets: its libraries, and how its run.py chooses, pads and cuts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.tiny_models import save_recogniser
from tunefarm_coordinator.models.package_sets import build_packages
from tunefarm_coordinator.models.packaged_run import CannotRun, Model
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target

pytestmark = pytest.mark.slow
WIDTHS = (32, 96)


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recogniser(tmp_path_factory.mktemp("model") / "recogniser.onnx")


@pytest.fixture(scope="module")
def package(recogniser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untuned, for both widths; images may be padded with 0.5."""
    folder = tmp_path_factory.mktemp("sets")
    prepared = [
        prepare(recogniser, {"image": (1, 3, 16, width)}, host_target(), folder / str(width)).directory
        for width in WIDTHS
    ]
    return build_packages(prepared, {}, folder / "package", {"padding": {"image": 0.5}}).directory


def image(width: int) -> Any:
    return np.random.default_rng(width).uniform(-1, 1, (1, 3, 16, width)).astype(np.float32)


def answer(recogniser: Path, value: Any) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(recogniser), providers=["CPUExecutionProvider"])
    return dict(zip(("text", "script"), session.run(["text", "script"], {"image": value}), strict=True))


def test_weights_are_kept_once_and_the_manifest_says_where(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    assert [each["library"] for each in manifest["shape_sets"]] == ["model.so", "set-2/model.so"]
    assert [each["weights"] for each in manifest["shape_sets"]] == ["weights.npz", "weights.npz"]
    assert [each["inputs"][0]["shape"][3] for each in manifest["shape_sets"]] == list(WIDTHS)
    assert {path.name for path in (package / "set-2").iterdir()} == {"model.so", "prepared_module.json"}
    # Of the package itself it says what a package with one set would.
    assert manifest["inputs"] == manifest["shape_sets"][0]["inputs"]
    assert manifest["library"] == "model.so"


def test_the_shape_chooses(recogniser: Path, package: Path) -> None:
    model = Model(package)
    for width in WIDTHS:
        outputs, expected = model({"image": image(width)}), answer(recogniser, image(width))
        assert outputs["text"].shape == (1, width // 4, 40)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-5)


def test_a_padded_input_is_answered_as_onnx_runtime_does(recogniser: Path, package: Path) -> None:
    narrow = image(48)
    whole = np.full((1, 3, 16, 96), 0.5, np.float32)
    whole[..., :48] = narrow
    outputs, expected = Model(package)({"image": narrow}), answer(recogniser, whole)
    assert outputs["text"].shape == (1, 12, 40)
    np.testing.assert_allclose(outputs["text"], expected["text"][:, :12], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["script"], expected["script"], rtol=1e-4, atol=1e-5)


def test_what_fits_none_is_told_which_there_are(package: Path) -> None:
    with pytest.raises(CannotRun, match=r"is for image=1,3,16,32 or image=1,3,16,96 .*, not for image=1,3,16,97"):
        Model(package)({"image": image(97)})


def test_run_script_times_each_set(package: Path) -> None:
    # Threads that wait for one another take seconds a call where other tests have the cores.
    alone = {**os.environ, "TVM_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=package, env=alone, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("text")] == [
        "text: float32 (1, 8, 40)",
        "text: float32 (1, 24, 40)",
    ]
    assert done.stdout.count("latency: ") == 2


def test_run_script_takes_a_users_arrays(recogniser: Path, package: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", image=image(32))
    files = ["--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz")]
    command = [sys.executable, str(package / "run.py"), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as outputs:
        np.testing.assert_allclose(outputs["text"], answer(recogniser, image(32))["text"], rtol=1e-4, atol=1e-5)
