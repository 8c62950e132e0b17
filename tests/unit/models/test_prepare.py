"""What becomes of a model before anything is tuned: layout, kernels, tasks, and who they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.unit.models import graphs
from tunefarm_coordinator.compute.messages import PrepareModel
from tunefarm_coordinator.compute.model_work import prepare_model
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.prepare import PreparedModel, load_prepared, prepare
from tunefarm_coordinator.models.target import host_target
from tunefarm_coordinator.models.tasks import MIN_FLOPS, PIPELINE_VERSION, kernels_of

_SIZES: dict[str, tuple[int, ...]] = {"x": (1, 32, 10, 10)}


@pytest.fixture(scope="module")
def conv_pair(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    folder = tmp_path_factory.mktemp("conv_pair")
    return prepare(graphs.save_conv_pair(folder / "m.onnx"), _SIZES, host_target(), folder / "prepared")


def test_tasks_and_signature(conv_pair: PreparedModel) -> None:
    assert conv_pair.layout == "NHWC"
    assert {task.name for task in conv_pair.tasks} == {"conv2d_add_relu_1x10x10x32", "conv2d_add_tanh_1x10x10x32"}
    assert all(task.workload.startswith(f"{PIPELINE_VERSION}-") for task in conv_pair.tasks)
    assert conv_pair.inputs[0].shape == (1, 32, 10, 10)
    assert [(o.name, o.dtype, o.shape) for o in conv_pair.outputs] == [("y", "float32", (1, 32, 10, 10))]
    assert load_prepared(conv_pair.directory) == conv_pair


def test_what_was_prepared_exactly_is_prepared_again_for_tf32(conv_pair: PreparedModel, tmp_path: Path) -> None:
    assert conv_pair.allow_tf32 is False
    path = graphs.save_conv_pair(tmp_path / "m.onnx")
    for allow_tf32 in (False, True):
        prepare_model(PrepareModel(path, _SIZES, host_target(), tmp_path / "prepared", allow_tf32))
        assert load_prepared(tmp_path / "prepared").allow_tf32 is allow_tf32


def test_exact_mathematics_is_another_workload_where_there_is_some(conv_pair: PreparedModel, tmp_path: Path) -> None:
    path = graphs.save_conv_pair(tmp_path / "m.onnx")
    exact = prepare(path, _SIZES, host_target(), tmp_path / "prepared", exact_math=True)
    assert (conv_pair.vector_functions, exact.vector_functions) == (("tanh",), ())
    assert load_prepared(exact.directory).exact_math is True
    assert not {task.workload for task in conv_pair.tasks} & {task.workload for task in exact.tasks}
    assert ["--exact-math" in note for note in conv_pair.notes] == [True]
    assert exact.notes == ()


def test_exact_kernels_without_mathematics_are_anybodys(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])
    weights = {"w": np.ones((32, 32, 1, 1), np.float32)}
    path = graphs.save(tmp_path / "m.onnx", [node], {"x": [1, 32, 10, 10]}, ["y"], weights)
    made, exact = (prepare(path, _SIZES, host_target(), tmp_path / str(e), exact_math=e) for e in (False, True))
    assert [task.workload for task in made.tasks] == [task.workload for task in exact.tasks]


def test_weights_are_parameters_and_layout_free(conv_pair: PreparedModel) -> None:
    module = conv_pair.module()
    assert int(module["main"].attrs["num_input"]) == 1
    assert len(module["main"].params) == 1 + len(conv_pair.weights())
    weight = conv_pair.weights()[0]
    assert weight.shape == (3, 3, 32, 32)  # HWIO: lanes of the vector side by side
    assert np.array_equal(weight, graphs.random_weights(32, 32, 3, 3, seed=1).transpose(2, 3, 1, 0))
    for kernel in kernels_of(module):
        if kernel.worth_tuning:
            assert 1 in [int(i) for i in kernel.module["main"].attrs["layout_free_buffers"]]


_PREPARE = """
import sys
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target
prepared = prepare(sys.argv[1], {"x": (1, 32, 10, 10)}, host_target(), sys.argv[2])
print(*[f"{task.workload}={task.name}" for task in prepared.tasks])
"""


def test_workloads_are_the_same_in_every_process(conv_pair: PreparedModel, tmp_path: Path) -> None:
    model = conv_pair.directory.parent / "m.onnx"
    runs = [
        subprocess.run(
            [sys.executable, "-c", _PREPARE, str(model), str(tmp_path / seed)],
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    ]
    ours = " ".join(f"{task.workload}={task.name}" for task in conv_pair.tasks)
    assert [run.strip() for run in runs] == [ours, ours]


def test_other_sizes_are_other_workloads(conv_pair: PreparedModel, tmp_path: Path) -> None:
    path = graphs.save_conv_pair(tmp_path / "m.onnx", size=12)
    other = prepare(path, {"x": (1, 32, 12, 12)}, host_target(), tmp_path / "prepared")
    assert not {t.workload for t in conv_pair.tasks} & {t.workload for t in other.tasks}


def test_equal_kernels_are_one_task_with_their_weight(tmp_path: Path) -> None:
    weights = {f"w{i}": graphs.random_weights(16, 16, 3, 3, seed=i) for i in range(3)}
    nodes = []
    for i in range(3):
        nodes.append(helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"]))
    path = graphs.save(tmp_path / "m.onnx", nodes, {"x0": [1, 16, 9, 9]}, ["x3"], weights)
    prepared = prepare(path, {"x0": (1, 16, 9, 9)}, host_target(), tmp_path / "prepared")
    assert [(task.name, task.weight) for task in prepared.tasks] == [("conv2d_relu_1x9x9x16", 3)]


def test_copies_and_specks_are_no_tasks(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["t"], ["s"]),
        helper.make_node("ReduceMax", ["x"], ["m"], axes=[1, 2], keepdims=0),
    ]
    path = graphs.save(tmp_path / "m.onnx", nodes, {"x": [1, 64, 100]}, ["s", "m"])
    prepared = prepare(path, {"x": (1, 64, 100)}, host_target(), tmp_path / "prepared")
    kernels = kernels_of(prepared.module())
    assert prepared.kernels == len(kernels) >= 2
    assert prepared.tasks == ()
    assert all(k.flops < MIN_FLOPS or not k.reduces for k in kernels)


def test_images_that_come_channels_last_are_pooled_as_they_lie(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("MaxPool", ["first"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "w"], ["convolved"]),
        helper.make_node("Transpose", ["convolved"], ["y"], perm=[0, 2, 3, 1]),
    ]
    weights = {"w": graphs.random_weights(16, 8, 1, 1)}
    path = graphs.save(tmp_path / "m.onnx", nodes, {"x": [1, 10, 12, 8]}, ["y"], weights)
    prepared = prepare(path, {"x": (1, 10, 12, 8)}, host_target(), tmp_path / "prepared")
    names = [kernel.name for kernel in kernels_of(prepared.module())]
    assert names == ["max_pool2d_1x5x6x8", "conv2d_1x5x6x16"]


def test_parts_of_a_convolutions_channels_are_taken_as_they_lie(tmp_path: Path) -> None:
    parts = {"begin": np.array([4]), "end": np.array([12]), "axes": np.array([1])}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["first"], pads=[1, 1, 1, 1]),
        helper.make_node("Slice", ["first", "begin", "end", "axes"], ["part"]),
        helper.make_node("Conv", ["part", "v"], ["second"]),
        helper.make_node("Concat", ["first", "second"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "u"], ["y"]),
    ]
    sizes = {"w": (16, 32, 3, 3), "v": (8, 8, 1, 1), "u": (8, 24, 1, 1)}
    weights = {**parts, **{name: graphs.random_weights(*size) for name, size in sizes.items()}}
    path = graphs.save(tmp_path / "m.onnx", nodes, {"x": [1, 32, 10, 10]}, ["y"], weights)
    names = [k.name for k in kernels_of(prepare(path, _SIZES, host_target(), tmp_path / "prepared").module())]
    assert [name for name in names if "transpose" in name] == ["transpose_1x10x10x32", "transpose_1x8x10x10"]


def test_every_unsupported_operator_is_named_with_its_node(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Wobble", ["x"], ["a"], "first", domain="com.example"),
        helper.make_node("Relu", ["a"], ["b"], "fine"),
        helper.make_node("StringNormalizer", ["b"], ["c"], "second"),
        helper.make_node("Wobble", ["c"], ["y"], "third", domain="com.example"),
    ]
    path = graphs.save(tmp_path / "m.onnx", nodes, {"x": [1, 4]}, ["y"])
    with pytest.raises(InvalidInput) as caught:
        prepare(path, {"x": (1, 4)}, host_target(), tmp_path / "prepared")
    message = str(caught.value)
    assert "com.example::Wobble at first, third" in message
    assert "StringNormalizer at second" in message
    assert "Relu" not in message
    assert not (tmp_path / "prepared").exists()


def test_a_node_that_the_importer_refuses_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "fine"),
        helper.make_node("Pad", ["r", "pads"], ["y"], "runtime_pads"),
    ]
    graphs.save(tmp_path / "m.onnx", nodes, {"x": [1, 4], "pads": [4]}, ["y"])
    with pytest.raises(InvalidInput, match=r"Pad at node .*runtime_pads"):
        prepare(tmp_path / "m.onnx", {"x": (1, 4), "pads": (4,)}, host_target(), tmp_path / "prepared")


def test_outputs_whose_sizes_depend_on_values_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"], "where")]
    path = graphs.save(tmp_path / "m.onnx", nodes, {"x": [3, 4]}, ["y"])
    with pytest.raises(InvalidInput, match="NonZero at where"):
        prepare(path, {"x": (3, 4)}, host_target(), tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_load_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"prepared\.json"):
        load_prepared(tmp_path)
