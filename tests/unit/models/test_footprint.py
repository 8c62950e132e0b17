"""The memory that a model takes is known before any of it is allocated."""

from pathlib import Path

import pytest
from onnx import helper

from tests.unit.models import graphs
from tunefarm_coordinator.compute.messages import CheckModel, PrepareModel, Reference
from tunefarm_coordinator.compute.model_check import check_model
from tunefarm_coordinator.compute.model_work import prepare_model
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.footprint import footprint
from tunefarm_coordinator.models.prepare import load_prepared

MIB = 2**20


def test_what_is_alive_at_once_counts(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"]),
        helper.make_node("Softmax", ["a"], ["b"], axis=0),
        helper.make_node("Softmax", ["b"], ["y"]),
    ]
    path = graphs.save(tmp_path / "chain.onnx", nodes, {"x": [512, 512]}, ["y"])
    summary = prepare_model(PrepareModel(path, {"x": (512, 512)}, "host", tmp_path / "prepared"))
    # The input, and two of the values in between: the first is free by the time that the third is written.
    assert summary.memory == footprint(load_prepared(tmp_path / "prepared").module()) == 3 * MIB
    assert summary.notes == ()


def test_gigabytes_are_told_and_refused_where_they_are_not_there(tmp_path: Path) -> None:
    sizes: dict[str, tuple[int, ...]] = {"x": (2**20, 2**20)}
    path = graphs.save(tmp_path / "huge.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": [2**20, 2**20]}, ["y"])
    folder = tmp_path / "prepared"
    summary = prepare_model(PrepareModel(path, sizes, "host", folder))
    assert summary.notes == ("takes about 8192.0 GiB of memory while it runs",)
    with pytest.raises(InvalidInput, match=r"huge\.onnx: takes about 8192\.0 GiB of memory .* this machine, .* has "):
        check_model(CheckModel(folder, Reference(path, sizes, (0,))))
