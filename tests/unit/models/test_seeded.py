"""Seeded models: the same for a seed, and with weights that tell the classes apart."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tunefarm_coordinator.models.onnx_file import read_signature
from tunefarm_coordinator.models.seeded import main, seeded_model


def test_a_seed_decides_every_weight() -> None:
    first, again, other = (seeded_model("squeezenet", seed) for seed in (0, 0, 1))
    assert first.SerializeToString() == again.SerializeToString()
    assert first.SerializeToString() != other.SerializeToString()
    kernels = [numpy_helper.to_array(t) for t in first.graph.initializer if len(t.dims) == 4]
    assert len(kernels) == 26
    for kernel in kernels:
        he = np.sqrt(2 / np.prod(kernel.shape[1:]))
        assert 0.8 < kernel.std() / he < 1.2


def test_batch_norm_statistics_are_sane() -> None:
    model = seeded_model("shufflenet")
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert len(norms) == 49
    assert all((values[node.input[4]] > 0.5).all() and values[node.input[1]].std() > 0 for node in norms)


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "m.onnx"
    monkeypatch.setattr("sys.argv", ["seeded", "squeezenet", str(path)])
    main()
    onnx.checker.check_model(str(path))
    assert [tensor.dims for tensor in read_signature(path).inputs] == [(1, 3, 224, 224)]


def test_unknown_architecture() -> None:
    with pytest.raises(ValueError, match="choose from resnet50"):
        seeded_model("alexnet")
