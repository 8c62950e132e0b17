"""Default schedules for GPUs cover what real models have: each compiles, on a machine without a GPU."""

from pathlib import Path

import numpy as np
import pytest
import tvm
from onnx import helper
from tvm.s_tir import Schedule

from tests.fake_cuda.kernels import TARGET
from tests.integration.test_cuda import carries_machine_code
from tests.model_zoo import ZOO, model_path
from tests.unit.models import graphs
from tunefarm_coordinator.engines.autotvm.operators import recognised
from tunefarm_coordinator.engines.autotvm.tuner import template_of
from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.engine import engine
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import PreparedModel, prepare
from tunefarm_coordinator.models.tasks import kernels_of


def _prepared(name: str, folder: Path) -> PreparedModel:
    return prepare(model_path(name), ZOO[name].shapes, TARGET, folder / "prepared")


def _operators(prepared: PreparedModel) -> set[str]:
    """Convolutions and products of the model; each has a template."""
    found = set()
    for kernel in kernels_of(prepared.module()):
        known = recognised(Schedule(kernel.module))
        if known is not None:
            found.add(known.operator)
            assert template_of(str(tvm.ir.save_json(kernel.module)), TARGET) == f"{known.operator}.cuda", kernel.name
    return found


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("shufflenet", {"conv2d_3x3_nchw", "depthwise_conv2d_nchw", "grouped_conv2d_nchw", "dense"}),
        pytest.param(
            *("resnet50", {"conv2d_nhwc", "conv2d_1x1_nhwc", "conv2d_3x3_nhwc", "dense"}), marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.timeout(300)
def test_every_kernel_of_a_real_model_compiles(name: str, operators: set[str], tmp_path: Path) -> None:
    prepared = _prepared(name, tmp_path)
    assert _operators(prepared) == operators
    package = build_untuned(prepared.directory, tmp_path / "package")
    assert carries_machine_code(package.library.read_bytes())


def test_a_kernel_that_comes_bound_to_threads_compiles_as_it_is(tmp_path: Path) -> None:
    weights = {"indices": np.array([[0, 2, 1]])}
    nodes = [helper.make_node("ScatterElements", ["x", "indices", "x"], ["y"], axis=1)]
    model = graphs.save(tmp_path / "model.onnx", nodes, {"x": [1, 3]}, ["y"], weights, opset=18)
    prepared = prepare(model, {"x": (1, 3)}, TARGET, tmp_path / "prepared")
    package = build_untuned(prepared.directory, tmp_path / "package")
    assert carries_machine_code(package.library.read_bytes())


def test_a_grouped_convolution_is_searched_by_its_template(tmp_path: Path) -> None:
    weights = {"w": graphs.random_weights(32, 8, 3, 3)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], group=4)]
    model = graphs.save(tmp_path / "model.onnx", nodes, {"x": [1, 32, 10, 10]}, ["y"], weights)
    prepared = prepare(model, {"x": (1, 32, 10, 10)}, TARGET, tmp_path / "prepared")
    assert prepared.layout == "NCHW"
    (task,) = prepared.tasks
    for tuner in ("autoscheduler", "autotvm"):
        proposals = engine(tuner).open(task.workload, task.module, TARGET, seed=1).propose(2, None)
        assert len({proposal.trace for proposal in proposals}) == 2
        assert carries_machine_code(build_candidate(task.module, proposals[1].trace, TARGET).library)
