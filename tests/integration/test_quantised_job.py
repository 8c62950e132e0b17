"""Quantised models end to end, each by one command: two image classifiers and a text encoder, on one coordinator."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.programs import agent, assert_nothing_left, coordinator, document, tunefarm
from tests.quantised_models import save_classifier, save_encoder

pytestmark = pytest.mark.slow

MODELS: dict[str, Callable[[Path], Path]] = {
    "pairs": partial(save_classifier, pairs=True),
    "operators": partial(save_classifier, pairs=False),
    "encoder": save_encoder,
}


def test_quantised_models_by_one_command_each(home: Path, tmp_path: Path) -> None:
    with coordinator(home) as (_, address), agent(home, address) as board:
        board.wait_for("attached")
        for name, save in MODELS.items():
            model, out = save(tmp_path / f"{name}.onnx"), tmp_path / name
            common = [str(model), "--connect", address, "--trials-per-kernel", "1", "--out", str(out), "--json"]
            done = tunefarm(home, "tune", *common)
            assert done.returncode == 0, (name, done.stderr)
            result = document(done)
            assert (result["state"], result["trials"]["failed"]) == ("SUCCEEDED", {}), name
            assert result["max_rel_error"] < 0.05, name
    assert_nothing_left(home)
